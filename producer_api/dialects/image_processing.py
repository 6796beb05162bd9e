"""Image processing with FastAPI and Celery: /process-image/, /task-status/, /task-result/."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from producer_api.context import API
from producer_api.dialects.common import (
    bad_request,
    existing,
    failure_of,
    fastapi_errors,
    missing_fields,
    not_found,
    only_types,
    single_image,
    submit,
)
from producer_api.http.files import serve_object
from producer_api.http.multipart import Form, FormSpec
from producer_api.http.problems import quoted
from producer_api.http.query import json_answer
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.jobs.staging import Staging
from producer_api.read_model.records import JobRecord
from producer_api.routes.items import finished_result, result_filename
from schemas.jobs import JobStatus

NAME = "image_processing"
_FORM = FormSpec(files=frozenset({"file"}), fields=frozenset({"operation"}), strict=False)
_EXTENSIONS = frozenset({"jpg", "jpeg", "png"})
_FORMATS = frozenset({"jpeg", "png"})
_STEPS = {
    "grayscale": {"do": "grayscale"},
    "resize": {"do": "resize", "width": 100, "height": 100, "mode": "exact"},
}
_WORDS = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "STARTED",
    JobStatus.SUCCEEDED: "SUCCESS",
    JobStatus.FAILED: "FAILURE",
    JobStatus.CANCELLED: "REVOKED",
}


@fastapi_errors
async def process_image(request: web.Request) -> web.Response:
    """POST /process-image/"""
    record = await submit(request, _FORM, _body, dialect=NAME)
    return json_answer({"task_id": record.state.job_id, "message": "Image processing started"})


def _body(form: Form, staging: Staging) -> dict[str, Any]:
    operation = form.text("operation")
    missing = [] if staging.images else ["file"]
    if not operation:
        missing.append("operation")
    if missing:
        raise missing_fields(missing)
    single_image(staging, "file")
    only_types(staging, _EXTENSIONS, _FORMATS)
    step = _STEPS.get(operation)
    if step is None:
        known = " and ".join(_STEPS)
        raise bad_request(f"Unsupported operation {quoted(operation)}; there are {known}.")
    return {"operation": "transform", "params": {"steps": [step]}}


@fastapi_errors
async def task_status(request: web.Request) -> web.Response:
    """GET /task-status/{task_id}"""
    record = await _existing(request)
    view = _status(record)
    if record.state.status is JobStatus.SUCCEEDED:
        view["result"] = processed_path(record)
    elif record.state.status.ended:
        view["result"] = failure_of(record)
    return json_answer(view)


@fastapi_errors
async def task_result(request: web.Request) -> web.StreamResponse:
    """GET /task-result/{task_id}; with `Accept: image/*` the image itself."""
    record = await _existing(request)
    if record.state.status is not JobStatus.SUCCEEDED:
        ended = record.state.status.ended
        detail = failure_of(record) if ended else "The task has not finished yet."
        return json_answer(_status(record) | {"detail": detail}, status=409)
    if _wants_image(request):
        return await _serve(request, record)
    return json_answer({"task_id": record.state.job_id, "processed_image": processed_path(record)})


@fastapi_errors
async def processed(request: web.Request) -> web.StreamResponse:
    """GET /processed/{task_id}/{name}: what `processed_image` names."""
    return await _serve(request, await _existing(request))


async def _existing(request: web.Request) -> JobRecord:
    return await existing(request, "task_id", "There is no task {id}.")


async def _serve(request: web.Request, record: JobRecord) -> web.StreamResponse:
    item = record.items[0]
    result = finished_result(item)
    key = result.get("key")
    if key is None:
        raise not_found("The task has no picture.")
    content_type = result.get("content_type")
    return await serve_object(
        request, request.app[API].store, str(key), content_type, result_filename(record, item)
    )


def _status(record: JobRecord) -> dict[str, Any]:
    return {"task_id": record.state.job_id, "status": _WORDS[record.state.status]}


def processed_path(record: JobRecord) -> str:
    """Return the path of the picture, which ends in the name of the uploaded file."""
    name = result_filename(record, record.items[0]) or "image"
    return f"processed/{record.state.job_id}/{name}"


def _wants_image(request: web.Request) -> bool:
    return request.headers.get("Accept", "").strip().startswith("image/")


def _both(method: str, path: str, handler: Any, summary: str, docs: Docs) -> tuple[Route, ...]:
    """Make the route without and with a trailing slash."""
    return tuple(Route(method, path + end, handler, summary, NAME, docs) for end in ("", "/"))


_DOCS = Docs(form={"file": FILE, "operation": TEXT})


ROUTES = (
    *_both("POST", "/process-image", process_image, "Process an image", _DOCS),
    *_both("GET", "/task-status/{task_id}", task_status, "How far a task is", Docs()),
    *_both("GET", "/task-result/{task_id}", task_result, "Where the processed image is", Docs()),
    Route(
        "GET",
        "/processed/{task_id}/{name}",
        processed,
        "The processed image",
        NAME,
        Docs(answers={200: "image/*"}),
    ),
)
