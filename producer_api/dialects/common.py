"""What the dialects share: one way to submit, errors in two house styles, and result URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from aiohttp import web

from imagemill.images.formats import extension_of
from producer_api.context import API, Api
from producer_api.http.forms import SubmitBody, validate
from producer_api.http.multipart import Form, FormSpec, read_form
from producer_api.http.problems import Handler, Problem, as_problem
from producer_api.http.query import json_answer, traceparent_of
from producer_api.ids import is_job_id, new_id
from producer_api.jobs.limits import check_queue_limit
from producer_api.jobs.staging import Staging
from producer_api.jobs.submit import SubmitRequest
from producer_api.read_model.queries import JobRecord
from schemas.jobs import Item, JobStatus, WebhookStyle

Build = Callable[[Form, Staging], Mapping[str, Any]]

# Their documentation knows one code for whatever is wrong with the input.
_BAD_REQUEST = (415, 422)
_MISSING = "fields_missing"


def flask_errors(handler: Handler) -> Handler:
    """Errors as those Flask services answer them: `{"error": sentence}`."""
    return _translated(handler, lambda problem: {"error": problem.detail})


def fastapi_errors(handler: Handler) -> Handler:
    """Errors as FastAPI services answer them: `{"detail": sentence}`."""
    return _translated(handler, _fastapi_document)


def _fastapi_document(problem: Problem) -> dict[str, Any]:
    members = {name: value for name, value in problem.members.items() if name != "errors"}
    return {"detail": problem.detail} | members


def _translated(handler: Handler, document: Callable[[Problem], dict[str, Any]]) -> Handler:
    @wraps(handler)
    async def translated(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                raise
            as_bad_request = problem.status in _BAD_REQUEST and problem.code != _MISSING
            return json_answer(
                document(problem),
                status=400 if as_bad_request else problem.status,
                headers=problem.headers,
            )

    return translated


def missing_fields(names: Sequence[str]) -> Problem:
    """A 422 whose `detail` lists the fields, as FastAPI's clients parse it."""
    problem = Problem(422, _MISSING, f"Missing: {', '.join(names)}.")
    problem.members["detail"] = [
        {"type": "missing", "loc": ["body", name], "msg": "Field required"} for name in names
    ]
    return problem


def bad_request(detail: str) -> Problem:
    """A 400 with that sentence."""
    return Problem(400, "request_invalid", detail)


def not_found(detail: str) -> Problem:
    """A 404 with that sentence."""
    return Problem(404, "not_found", detail)


async def submit(
    request: web.Request,
    spec: FormSpec,
    build: Build,
    *,
    dialect: str,
    webhook_style: WebhookStyle | None = None,
) -> JobRecord:
    """Read the form and queue the job that `build` makes of it.

    Raises:
        Problem, ImageRejected, KafkaUnavailable, StoreUnavailable: as the native submit.
    """
    api = request.app[API]
    check_queue_limit(api.read_model.queued, api.settings.queue_limit)
    job_id = new_id()
    async with api.submitter.staging(job_id) as staging:
        form = await read_form(request, spec, api.submitter.limits.form, staging)
        body = validate(dict(build(form, staging)), SubmitBody)
        asked = SubmitRequest(
            job_id,
            body,
            dialect=dialect,
            webhook_style=webhook_style,
            traceparent=traceparent_of(request),
        )
        return (await api.submitter.submit(asked, staging)).record


async def find(request: web.Request, job_id: str) -> JobRecord | None:
    """The job of that id, if there is one. Raises as ReadModel.find."""
    if not is_job_id(job_id):
        return None
    return await request.app[API].read_model.find(job_id)


def only_types(staging: Staging, extensions: frozenset[str], formats: frozenset[str]) -> None:
    """Raises a 400 Problem when a file is of another type, by its name or by its bytes."""
    wanted = ", ".join(f".{extension}" for extension in sorted(extensions))
    for image in staging.images:
        extension = extension_of(image.filename or "")
        if (extension and extension not in extensions) or image.facts.format not in formats:
            raise bad_request(f"{image.filename or 'The file'} is not one of {wanted}.")


def single_image(staging: Staging, name: str) -> None:
    """Raises a 400 Problem unless the form held exactly one file."""
    if not staging.images:
        raise bad_request(f"No {name} was sent.")
    if len(staging.images) > 1:
        raise bad_request(f"Send one {name} a request.")


def failure_of(record: JobRecord, item: Item | None = None) -> str:
    """The sentence that says why a job, or one of its items, did not succeed."""
    error = (item.error if item else None) or record.state.error
    if error is None:
        error = next((entry.error for entry in record.items if entry.error), None)
    return error.message if error else "It did not succeed."


async def result_url(api: Api, item: Item) -> str | None:
    """An absolute URL that answers the item's picture without a key; None when it has none."""
    if item.result is None or item.status is not JobStatus.SUCCEEDED:
        return None
    if item.result.get("url"):
        return str(item.result["url"])
    key = item.result.get("key")
    if key is None:
        return None
    return await api.store.url(key, api.settings.url_expires_s)
