"""The queue of a rembg microservice: /queue/submit, /queue/job/{id}, /queue/jobs, /queue/stats."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from producer_api.access.authenticate import authorize_change
from producer_api.access.caller import caller_of
from producer_api.context import API, Api, jobs_of
from producer_api.dialects.common import (
    bad_request,
    existing,
    failure_of,
    fastapi_errors,
    missing_fields,
    result_url,
    submit,
)
from producer_api.http.multipart import Form, FormSpec
from producer_api.http.problems import Problem, quoted
from producer_api.http.query import json_answer, query_int, query_text
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.jobs.staging import Staging
from producer_api.read_model.listing import ListFilter
from producer_api.read_model.records import JobRecord
from producer_api.routes.stats import stats_view, workers_view
from schemas.jobs import Item, JobStatus

NAME = "rembg_queue"
_FORM = FormSpec(files=frozenset({"images"}), fields=frozenset(), strict=False)
_DEFAULT_MODEL = "u2net"
_PAGE = 20
_MAX_PAGE = 1000
_WORDS = {
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
_STATUSES = {word: status for status, word in _WORDS.items()}
# Models that the documentation of this queue spells otherwise than rembg.
_SPELLINGS = {"siluette": "silueta", "isnet-general": "isnet-general-use"}


@fastapi_errors
async def submit_job(request: web.Request) -> web.Response:
    """POST /queue/submit?model="""
    named = query_text(request, "model") or _DEFAULT_MODEL
    model = _model(request.app[API], named)

    def body(_form: Form, staging: Staging) -> dict[str, Any]:
        if not staging.images:
            raise missing_fields(["images"])
        return {
            "operation": "remove-background",
            "params": {"model": model},
            "metadata": {"model": named},
        }

    record = await submit(request, _FORM, body, dialect=NAME)
    job_id = record.state.job_id
    return json_answer(
        {
            "job_id": job_id,
            "status": "queued",
            "job_type": _job_type(record),
            "files_count": record.state.total,
            "model": named,
            "message": f"Job queued successfully. Check status with /queue/job/{job_id}",
        }
    )


def _model(api: Api, named: str) -> str:
    """Return the model to run for the one that a client names."""
    pairs = (entry.partition("=") for entry in api.settings.rembg_models.split(","))
    substitutes = {name.strip(): model.strip() for name, _, model in pairs}
    name = _SPELLINGS.get(named, named)
    return substitutes.get(name) or name


@fastapi_errors
async def get_job(request: web.Request) -> web.Response:
    """GET /queue/job/{job_id}"""
    return json_answer(await _view(request, await _existing(request)))


async def _existing(request: web.Request) -> JobRecord:
    return await existing(request, "job_id", "Job {id} not found")


async def _view(request: web.Request, record: JobRecord) -> dict[str, Any]:
    state = record.state
    progress = state.progress
    ended = state.status.ended
    return {
        "id": state.job_id,
        "status": _WORDS[state.status],
        "type": _job_type(record),
        "created_at": _moment(state.created_at),
        "started_at": _moment(state.started_at),
        "completed_at": _moment(state.finished_at) if ended else None,
        "progress": {
            "total": progress.total,
            # That queue does not count failed files as processed.
            "processed": progress.processed - progress.failed,
            "failed": progress.failed,
        },
        "model": state.metadata.get("model") or state.params.get("model"),
        "filenames": [_filename(record, item) for item in record.items],
        "results": (
            [await _result(request, record, item) for item in record.items] if ended else None
        ),
        "error": failure_of(record) if state.status is JobStatus.FAILED else None,
    }


async def _result(request: web.Request, record: JobRecord, item: Item) -> dict[str, Any]:
    entry = {"filename": _filename(record, item), "status": _WORDS[item.status]}
    if item.status is JobStatus.SUCCEEDED:
        return entry | {"url": await result_url(request, item)}
    return entry | {"error": failure_of(record, item)}


def _filename(record: JobRecord, item: Item) -> str | None:
    if item.filename is None and item.index < len(record.inputs):
        return record.inputs[item.index].filename
    return item.filename


def _job_type(record: JobRecord) -> str:
    return "single" if record.state.total == 1 else "batch"


def _moment(timestamp: str | None) -> str | None:
    """Return a time as Python's isoformat writes it: with microseconds, without a zone."""
    return f"{timestamp.removesuffix('Z')}000" if timestamp else None


@fastapi_errors
async def list_jobs(request: web.Request) -> web.Response:
    """GET /queue/jobs?status=&limit="""
    word = query_text(request, "status")
    if word and word not in _STATUSES:
        raise bad_request(f"Unknown status {quoted(word)}; there are {', '.join(_STATUSES)}.")
    limit = query_int(request, "limit", _PAGE, 1, _MAX_PAGE)
    wanted = ListFilter(statuses=[_STATUSES[word].value] if word else [])
    records, _ = await jobs_of(request).list(wanted, limit, None)
    jobs = await asyncio.gather(*(_view(request, record) for record in records))
    return json_answer({"total": len(jobs), "jobs": jobs})


@fastapi_errors
async def queue_stats(request: web.Request) -> web.Response:
    """GET /queue/stats"""
    api = request.app[API]
    await api.read_model.catch_up()
    counts = stats_view(await jobs_of(request).totals(""))["jobs"]
    alive = [worker for worker in workers_view(api) if worker["alive"]]
    stats = {word: counts["by_status"][status.value] for word, status in _STATUSES.items()}
    return json_answer(
        {
            "stats": stats | {"total": counts["total"]},
            "worker": {
                "status": "running" if alive else "stopped",
                "active_jobs": sum(worker.get("busy", 0) for worker in alive),
                "max_concurrent": sum(worker.get("slots", 0) for worker in alive),
            },
        }
    )


@fastapi_errors
async def cancel_job(request: web.Request) -> web.Response:
    """POST /queue/job/{job_id}/cancel: only while the job is pending."""
    record = await _existing(request)
    authorize_change(caller_of(request), record.state.owner)
    if record.state.status is not JobStatus.QUEUED:
        raise _not_pending(record)
    record = await request.app[API].canceller.cancel(record)
    status = record.state.status
    if status is JobStatus.CANCELLED:
        message = "Job cancelled successfully"
    elif status.ended:
        raise _not_pending(record)
    else:
        message = "The job is cancelled as soon as a worker sees the request"
    answer = {"job_id": record.state.job_id, "status": _WORDS[status], "message": message}
    return json_answer(answer, status=200 if status.ended else 202)


def _not_pending(record: JobRecord) -> Problem:
    return bad_request(f"Cannot cancel job with status: {_WORDS[record.state.status]}")


_DOCS = Docs(query={"model": TEXT}, form={"images": {"type": "array", "items": FILE}})
_LIST_DOCS = Docs(query={"status": TEXT, "limit": {"type": "integer"}})

ROUTES = (
    Route("POST", "/queue/submit", submit_job, "Submit images to the queue", NAME, _DOCS),
    Route("GET", "/queue/job/{job_id}", get_job, "A job's status and progress", NAME),
    Route("GET", "/queue/jobs", list_jobs, "List jobs", NAME, _LIST_DOCS),
    Route("GET", "/queue/stats", queue_stats, "Counts by status, and the workers", NAME),
    Route("POST", "/queue/job/{job_id}/cancel", cancel_job, "Cancel a pending job", NAME),
)
