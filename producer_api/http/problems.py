"""Errors as the API answers them: RFC 9457 problem+json, each with a `code`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from imagemill.images.check import ImageRejected
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.storage import ObjectNotFound, StoreUnavailable
from producer_api.read_model.errors import ReadModelBehind

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RETRY_AFTER_S = "2"
# Characters of a client's text in the answer to it.
_QUOTED_CHARACTERS = 64


class Problem(Exception):
    """A request that fails; `detail` is a sentence for its sender.

    `members` are further members of the problem document, such as `errors` with the fields.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def document(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {
            "type": f"urn:imagemill:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        } | self.members


def quoted(text: str) -> str:
    """Return a client's text for use in a sentence: quoted, printable, 64 characters at most."""
    clipped = text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
    return '"' + "".join(letter if letter.isprintable() else "?" for letter in clipped) + '"'


def field_problem(field: str, message: str, *, code: str = "params_invalid") -> Problem:
    """Make a 422 about one field of the request."""
    return Problem(422, code, f"{field}: {message}", errors=[{"field": field, "message": message}])


def as_problem(error: Exception) -> Problem | None:
    """Return the problem for an expected failure; None for an error that only a defect causes."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ImageRejected):
        return Problem(error.http_status, str(error.code), error.message)
    if isinstance(error, KafkaUnavailable):
        return Problem(
            503,
            "broker_unavailable",
            "The message broker cannot be reached; nothing was queued. Try again shortly.",
            headers={"Retry-After": RETRY_AFTER_S},
        )
    if isinstance(error, ReadModelBehind):
        return Problem(503, "projection_behind", str(error), headers={"Retry-After": RETRY_AFTER_S})
    if isinstance(error, StoreUnavailable):
        return Problem(
            503,
            "store_unavailable",
            "The object store cannot be reached; nothing was queued. Try again shortly.",
            headers={"Retry-After": RETRY_AFTER_S},
        )
    if isinstance(error, ObjectNotFound):
        return Problem(404, "not_found", "There is no such file; it may have been removed.")
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _http_problem(error)
    return None


def _http_problem(error: web.HTTPException) -> Problem:
    sentences = {
        404: ("not_found", "There is nothing at this path; /docs lists what there is."),
        405: ("method_not_allowed", "This path does not take that method."),
        413: ("body_too_large", "The request body is over the limit."),
    }
    code, detail = sentences.get(error.status, ("request_invalid", error.reason))
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return Problem(error.status, code, detail, headers=headers)


def internal_problem() -> Problem:
    """Make the answer to a failure that only a defect of this server can cause."""
    return Problem(500, "internal", "The server failed; the failure is in its log.")


def problem_response(problem: Problem) -> web.Response:
    """Make the response of a problem."""
    return web.Response(
        status=problem.status,
        body=orjson.dumps(problem.document()),
        content_type="application/problem+json",
        headers=problem.headers,
    )


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error of a handler with a problem document."""
    try:
        return await handler(request)
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            # The client has gone: aiohttp drops the request without logging it.
            raise
        problem = as_problem(error)
        if problem is None and isinstance(error, web.HTTPException):
            raise
        if problem is None:
            log.exception("%s %s failed", request.method, request.path)
            problem = internal_problem()
        elif problem.status >= 500:
            log.warning(
                "%s %s is answered %d: %s", request.method, request.path, problem.status, error
            )
        return problem_response(problem)
