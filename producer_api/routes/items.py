"""One item of a job: its result, which is an image or data, and its input."""

from __future__ import annotations

from pathlib import PurePosixPath

from aiohttp import web

from producer_api.context import API, jobs_of
from producer_api.http.files import CONDITIONAL_HEADERS, FILE_ANSWERS, serve_object
from producer_api.http.problems import Problem
from producer_api.http.query import job_id_of, json_answer, unknown_job, whole_number
from producer_api.http.routing import Docs, Route
from producer_api.read_model.records import JobRecord
from schemas.jobs import Item, JobStatus


async def get_result(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{job_id}/items/{index}/result"""
    api = request.app[API]
    job_id = job_id_of(request)
    record = await jobs_of(request).find(job_id)
    if record is None:
        raise unknown_job(job_id)
    item = _item(record, request.match_info["index"])
    result = finished_result(item)
    key = result.get("key")
    if key is None or (result.get("data") is not None and _wants_json(request)):
        return json_answer(result.get("data"))
    return await serve_object(
        request, api.store, key, result.get("content_type"), result_filename(record, item)
    )


async def get_input(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{job_id}/items/{index}/input

    404 for an image that was given by URL: the worker fetches it and does not store it.
    """
    api = request.app[API]
    job_id = job_id_of(request)
    record = await jobs_of(request).find(job_id)
    if record is None:
        raise unknown_job(job_id)
    index = _item(record, request.match_info["index"]).index
    given = record.inputs[index] if index < len(record.inputs) else None
    if given is None or given.key is None:
        raise Problem(404, "not_found", f"The image of item {index} is not kept here.")
    return await serve_object(request, api.store, given.key, given.content_type, given.filename)


def _item(record: JobRecord, index: str) -> Item:
    number = whole_number(index)
    if number is not None and number < len(record.items):
        return record.items[number]
    raise Problem(
        404, "not_found", f"Job {record.state.job_id} has items 0 to {len(record.items) - 1}."
    )


def finished_result(item: Item) -> dict[str, object]:
    """Return the result of an item that succeeded.

    Raises:
        Problem: 409 while it runs, and when it failed or was cancelled.
    """
    if item.status is JobStatus.SUCCEEDED and item.result is not None:
        return item.result
    if item.status.ended:
        reason = item.error.message if item.error else "It left no result."
        code = str(item.error.code) if item.error else "no_result"
        raise Problem(409, code, reason, item_status=item.status.value)
    raise Problem(
        409,
        "not_finished",
        f"Item {item.index} is {item.status.value}; its result is here when it has succeeded.",
        headers={"Retry-After": "1"},
        item_status=item.status.value,
    )


def result_filename(record: JobRecord, item: Item) -> str | None:
    """Return the input's name with the extension of the result."""
    filename = item.filename
    if filename is None and item.index < len(record.inputs):
        filename = record.inputs[item.index].filename
    key = item.result.get("key") if item.result else None
    if filename is None or key is None:
        return None
    return PurePosixPath(filename).stem + PurePosixPath(key).suffix


def _wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get("Accept", "")


_FILE_DOCS = Docs(headers=CONDITIONAL_HEADERS, answers={**FILE_ANSWERS, 302: None})

ROUTES = (
    Route(
        "GET", "/v1/jobs/{job_id}/items/{index}/result", get_result,
        "The result of one item itself", "jobs", _FILE_DOCS,
    ),
    Route(
        "GET", "/v1/jobs/{job_id}/items/{index}/input", get_input,
        "The image of one item as it came in", "jobs", _FILE_DOCS,
    ),
)  # fmt: skip
