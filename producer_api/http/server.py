"""The server below the application: requests that are no valid HTTP get a problem document too.

aiohttp answers those itself, before any middleware, as plain text that quotes its parser, and logs
a traceback for each: any client could fill the log.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError, LineTooLong

from producer_api.http.problems import Problem, internal_problem, problem_response

log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    """Runs an application on the protocol below."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp offers no way to choose the protocol's class, so this depends on how Server makes
        # one; test_server.py fails when that changes.
        server.__class__ = _ProblemServer
        return server


class _ProblemServer(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _ProblemProtocol(self, loop=self._loop, **self._kwargs)


class _ProblemProtocol(web.RequestHandler):
    """aiohttp's protocol, but for its answer to what went wrong outside of the application."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that the application never saw, or failed on; close the connection.

        Raises:
            ConnectionError: the client has gone, or has a part of another answer already.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already") from exc
        if isinstance(exc, HttpProcessingError):
            log.info("A request from %s is no valid HTTP: %s", request.remote, type(exc).__name__)
            problem = _invalid_request(exc)
        else:
            log.error("%s %s failed", request.method, request.path, exc_info=exc)
            problem = internal_problem()
        response = problem_response(problem)
        response.force_close()
        return response


def _invalid_request(error: HttpProcessingError) -> Problem:
    # Further lines of the parser's message quote the request as Python bytes.
    reason = error.message.partition("\n")[0].strip().rstrip(".:")
    if isinstance(error, LineTooLong):
        reason = "its URL or a header is too long"
    elif not reason or "b'" in reason or isinstance(error, InvalidURLError):
        reason = "it cannot be parsed"
    return Problem(400, "request_invalid", f"The request is not valid HTTP: {reason}.")
