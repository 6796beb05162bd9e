"""The picture in the answer to its own request: `Accept: image/*` on a submit of one image."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from imagemill.storage.asynchronous import AsyncStore
from producer_api.access.authenticate import authorize
from producer_api.access.caller import Caller
from producer_api.http.problems import Problem
from producer_api.read_model.records import JobRecord
from schemas.access import Scope
from schemas.errors import ErrorClass
from schemas.jobs import Item, JobStatus
from schemas.times import elapsed_ms

# Operation of a request that names none: the one that people come for.
DEFAULT_OPERATION = "remove-background"
JOB = "Imagemill-Job"
MODEL = "Imagemill-Model"
# Answers to an item that failed, by the party that has to act.
_STATUS_OF_CLASS = {ErrorClass.INPUT: 422, ErrorClass.CANCELLED: 409}
_PHASES_LISTED = 20


def check_picture_request(caller: Caller, images: int) -> None:
    """Refuse a request for a picture that cannot be answered with one, before it is queued.

    Raises:
        Problem: 403 when the caller may not read results, 406 when there is not exactly one image.
    """
    authorize(caller, frozenset({Scope.RESULTS_READ}))
    if images != 1:
        raise Problem(
            406,
            "one_image_expected",
            f"A picture is answered for one image, not for {images}; ask for application/json, "
            "and fetch the result of each item.",
        )


async def picture_answer(store: AsyncStore, record: JobRecord, waited_s: float) -> web.Response:
    """Answer with the bytes of the picture that a job of one image made.

    Headers name the job, the model, and the milliseconds of each phase (Server-Timing).

    Raises:
        Problem: 406 when the operation made no picture; 409, 422 or 500 when the job failed; 504
            when it has not ended.
        ObjectNotFound, StoreUnavailable: the picture cannot be read.
    """
    headers = _headers(record)
    result = _succeeded(record, waited_s, headers).result or {}
    key = result.get("key")
    if key is None:
        raise Problem(
            406,
            "no_picture",
            f"{record.state.operation} made no picture but data; ask for application/json.",
            headers=headers,
        )
    with await store.open(key) as file:
        content = await asyncio.to_thread(file.read)
    return web.Response(
        body=content,
        content_type=result.get("content_type") or "application/octet-stream",
        headers=headers | {"X-Content-Type-Options": "nosniff"},
    )


def _succeeded(record: JobRecord, waited_s: float, headers: dict[str, str]) -> Item:
    (item,) = record.items
    if item.status is JobStatus.SUCCEEDED:
        return item
    error = item.error or record.state.error
    if error is not None:
        status = _STATUS_OF_CLASS.get(error.error_class, 500)
        raise Problem(status, str(error.code), error.message, headers=headers)
    raise Problem(
        504,
        "not_finished",
        f"The job has not ended after {waited_s:g} s and goes on; read it at the path in Location. "
        "The same request with an Idempotency-Key waits for the same job.",
        headers=headers,
    )


def _headers(record: JobRecord) -> dict[str, str]:
    state, (item,) = record.state, record.items
    headers = {hdrs.LOCATION: f"/v1/jobs/{state.job_id}", JOB: state.job_id}
    model = (item.model or {}).get("name")
    if isinstance(model, str) and model.isascii() and model.isprintable():
        headers[MODEL] = model
    timings = dict(list(item.timings_ms.items())[:_PHASES_LISTED])
    if item.finished_at is not None:
        timings["total"] = elapsed_ms(state.created_at, item.finished_at)
    if timings:
        headers["Server-Timing"] = ", ".join(
            f"{phase};dur={milliseconds:.1f}" for phase, milliseconds in timings.items()
        )
    return headers
