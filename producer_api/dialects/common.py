"""Shared by the dialects: the submit, errors in the style of Flask and FastAPI, result URLs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from aiohttp import web

from imagemill.images.formats import extension_of
from producer_api.access.caller import caller_of
from producer_api.context import API, jobs_of
from producer_api.http.forms import SubmitBody, validate
from producer_api.http.multipart import Form, FormSpec, read_form
from producer_api.http.problems import Handler, Problem, as_problem
from producer_api.http.query import json_answer, traceparent_of
from producer_api.http.rate_limits import note_limits
from producer_api.ids import is_job_id, new_id
from producer_api.jobs.staging import Staging
from producer_api.jobs.submit import SubmitRequest
from producer_api.read_model.records import JobRecord
from schemas.access import Scope
from schemas.jobs import Item, JobStatus, WebhookStyle

Build = Callable[[Form, Staging], Mapping[str, Any]]

# Statuses for invalid input that the documentation of those services calls 400.
_BAD_REQUEST = (415, 422)
_MISSING = "fields_missing"


def flask_errors(handler: Handler) -> Handler:
    """Answer errors as the Flask services do: `{"error": sentence}`."""
    return _translated(handler, lambda problem: {"error": problem.detail})


def fastapi_errors(handler: Handler) -> Handler:
    """Answer errors as the FastAPI services do: `{"detail": sentence}`."""
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
    """Make a 422 whose `detail` lists the fields, as FastAPI's clients parse it."""
    problem = Problem(422, _MISSING, f"Missing: {', '.join(names)}.")
    problem.members["detail"] = [
        {"type": "missing", "loc": ["body", name], "msg": "Field required"} for name in names
    ]
    return problem


def bad_request(detail: str) -> Problem:
    """Make a 400 with a sentence."""
    return Problem(400, "request_invalid", detail)


def not_found(detail: str) -> Problem:
    """Make a 404 with a sentence."""
    return Problem(404, "not_found", detail)


async def submit(
    request: web.Request,
    spec: FormSpec,
    build: Build,
    *,
    dialect: str,
    webhook_style: WebhookStyle | None = None,
) -> JobRecord:
    """Read the form, and queue the job that `build` returns the body of.

    Raises:
        Problem, ImageRejected, KafkaUnavailable, ReadModelBehind, StoreUnavailable: as
            Submitter.submit.
    """
    api, caller = request.app[API], caller_of(request)
    api.submitter.check_open(caller)
    job_id = new_id()
    async with api.submitter.staging(job_id) as staging:
        form = await read_form(request, spec, api.submitter.limits.form, staging)
        body = validate(dict(build(form, staging)), SubmitBody)
        asked = SubmitRequest(
            job_id,
            body,
            caller,
            dialect=dialect,
            webhook_style=webhook_style,
            traceparent=traceparent_of(request),
        )
        submission = await api.submitter.submit(asked, staging)
    note_limits(request, submission.limits)
    return submission.record


async def find(request: web.Request, job_id: str) -> JobRecord | None:
    """Return the job of an id, if there is one. Raises as ReadModel.find."""
    if not is_job_id(job_id):
        return None
    return await jobs_of(request).find(job_id)


async def existing(request: web.Request, parameter: str, sentence: str) -> JobRecord:
    """Return the job whose id is a parameter of the path. Raises as ReadModel.find.

    Raises:
        Problem: 404 with the sentence, in which `{id}` stands for the id.
    """
    job_id = request.match_info[parameter]
    record = await find(request, job_id)
    if record is None:
        raise not_found(sentence.format(id=job_id[:64]))
    return record


def only_types(staging: Staging, extensions: frozenset[str], formats: frozenset[str]) -> None:
    """Raise Problem (400) if a file is of another type, by its name or by its bytes."""
    wanted = ", ".join(f".{extension}" for extension in sorted(extensions))
    for image in staging.images:
        extension = extension_of(image.filename or "")
        if (extension and extension not in extensions) or image.facts.format not in formats:
            raise bad_request(f"{image.filename or 'The file'} is not one of {wanted}.")


def single_image(staging: Staging, name: str) -> None:
    """Raise Problem (400) unless the form has exactly one file."""
    if not staging.images:
        raise bad_request(f"No {name} was sent.")
    if len(staging.images) > 1:
        raise bad_request(f"Send one {name} a request.")


def failure_of(record: JobRecord, item: Item | None = None) -> str:
    """Return the reason why a job, or one of its items, did not succeed."""
    error = (item.error if item else None) or record.state.error
    if error is None:
        error = next((entry.error for entry in record.items if entry.error), None)
    return error.message if error else "It did not succeed."


async def result_url(request: web.Request, item: Item) -> str | None:
    """Return an absolute URL that answers the item's picture without a key.

    None if there is no picture, or the caller may not read result files.
    """
    if item.result is None or item.status is not JobStatus.SUCCEEDED:
        return None
    if not caller_of(request).may(Scope.RESULTS_READ):
        return None
    urls = request.app[API].object_urls
    if urls.blocks:
        return await asyncio.to_thread(urls.current, item.result)
    return urls.current(item.result)
