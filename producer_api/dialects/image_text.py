"""The image and text processing service: POST /api/process, GET /api/status/<job_id>."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from producer_api.dialects.common import (
    bad_request,
    existing,
    failure_of,
    flask_errors,
    single_image,
    submit,
)
from producer_api.http.multipart import Form, FormSpec
from producer_api.http.query import json_answer
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.jobs.staging import Staging
from producer_api.read_model.records import JobRecord
from schemas.jobs import JobStatus

NAME = "image_text"
_FORM = FormSpec(files=frozenset({"image"}), fields=frozenset({"text"}), strict=False)
_WORDS = {
    JobStatus.QUEUED: ("pending", "The job waits for a worker."),
    JobStatus.RUNNING: ("processing", "The picture and the text are being worked on."),
    JobStatus.CANCELLED: ("failed", "The job was cancelled."),
}


@flask_errors
async def process(request: web.Request) -> web.Response:
    """POST /api/process"""
    record = await submit(request, _FORM, _body, dialect=NAME)
    return json_answer({"job_id": record.state.job_id, "status": "processing"})


def _body(form: Form, staging: Staging) -> dict[str, Any]:
    single_image(staging, "image")
    text = form.text("text")
    if not text.strip():
        raise bad_request("No text was sent.")
    return {"operation": "process-image-and-text", "params": {"text": text}}


@flask_errors
async def status(request: web.Request) -> web.Response:
    """GET /api/status/<job_id>"""
    return json_answer(_view(await existing(request, "job_id", "There is no job {id}.")))


def _view(record: JobRecord) -> dict[str, Any]:
    state = record.state
    if state.status is JobStatus.SUCCEEDED:
        result = (record.items[0].result or {}).get("data")
        message = result.get("message") if isinstance(result, dict) else None
        return {"status": "completed", "message": message or "Done.", "result": result}
    if state.status is JobStatus.FAILED:
        return {"status": "failed", "message": failure_of(record), "result": None}
    word, message = _WORDS[state.status]
    return {"status": word, "message": message, "result": None}


_DOCS = Docs(form={"image": FILE, "text": TEXT})

ROUTES = (
    Route("POST", "/api/process", process, "Process an image and a text", NAME, _DOCS),
    Route("GET", "/api/status/{job_id}", status, "How far a job is, and its result", NAME),
)
