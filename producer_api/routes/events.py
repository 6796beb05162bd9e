"""Changes of a job as server-sent events; a client that connects again goes on where it was."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
from aiohttp import web

from imagemill.storage import ObjectUrls
from producer_api.access.caller import CALLER
from producer_api.access.guard import GUARD
from producer_api.context import API, jobs_of
from producer_api.http.job_documents import JobDocument
from producer_api.http.problems import Problem
from producer_api.http.query import job_id_of, unknown_job, whole_number
from producer_api.http.routing import TEXT, Docs, Route
from producer_api.read_model.records import JobRecord

log = logging.getLogger(__name__)

# Seconds between comments. Proxies close connections that are silent for 60 s, some for 30 s.
_COMMENT_S = 15.0
# Seconds between two checks that the caller may still read the job: a stream can last for days, in
# which keys are revoked and tokens expire.
_ADMIT_S = 1.0
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # nginx would hold the events back until its buffer is full.
    "X-Accel-Buffering": "no",
}


async def job_events(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{job_id}/events

    The id of an event is the revision of the job's state. States that came and went while a
    client was away are not repeated: the first event holds the state there is.
    """
    job_id = job_id_of(request)
    record = await jobs_of(request).find(job_id)
    if record is None:
        raise unknown_job(job_id)
    seen = _last_event_id(request)
    if record.state.status.ended and seen >= record.state.revision:
        # An EventSource does not connect again after a 204.
        return web.Response(status=204)
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    try:
        await _stream(request, response, job_id, seen)
    except ConnectionError:
        # The client has gone.
        return response
    return response


def _last_event_id(request: web.Request) -> int:
    number = whole_number(request.headers.get("Last-Event-ID", ""))
    return -1 if number is None else number


async def _stream(
    request: web.Request, response: web.StreamResponse, job_id: str, seen: int
) -> None:
    """Send changes until the job ends or is deleted, the caller may not read it, or the server
    stops."""
    urls, loop = request.app[API].object_urls, asyncio.get_running_loop()
    sent: JobRecord | None = None
    admitted_s = loop.time()
    while True:
        with jobs_of(request).watch(job_id) as change:
            if loop.time() - admitted_s >= _ADMIT_S:
                if not await _is_admitted(request):
                    return
                admitted_s = loop.time()
            now = jobs_of(request).peek(job_id)
            if now is None:
                return
            if now.state.revision > seen:
                await response.write(_event(now, sent, urls))
                sent, seen = now, now.state.revision
            if now.state.status.ended or change is None:
                await response.write_eof()
                return
            done, _ = await asyncio.wait([change], timeout=_COMMENT_S)
            if not done:
                await response.write(b": waiting\n\n")


async def _is_admitted(request: web.Request) -> bool:
    """Return whether the caller may still send this request, with the rights it has by now."""
    try:
        request[CALLER] = await request.app[GUARD].admit(request)
    except Problem as refusal:
        log.info("A stream of events ends: %s", refusal)
        return False
    return True


def _event(record: JobRecord, before: JobRecord | None, urls: ObjectUrls) -> bytes:
    """Make an event: `finished` at the end, `status` when that changed, else `progress`."""
    view = JobDocument.of(record, urls)
    if record.state.status.ended:
        name: str = "finished"
    elif before is None or before.state.status is not record.state.status:
        name = "status"
    else:
        name = "progress"
        view = _progress(view)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        record.state.revision, name.encode(), orjson.dumps(view),
    )  # fmt: skip


def _progress(view: dict[str, Any]) -> dict[str, Any]:
    """Return the progress without items: a batch may have 2000, ten times a second."""
    return {name: view[name] for name in ("id", "status", "progress")}


_DOCS = Docs(headers={"Last-Event-ID": TEXT}, answers={200: "text/event-stream", 204: None})

ROUTES = (
    Route("GET", "/v1/jobs/{job_id}/events", job_events, "Follow a job by events", "jobs", _DOCS),
)
