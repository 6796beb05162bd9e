"""The background removal microservice: POST /remove_background, GET /get_result."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from producer_api.access.caller import Caller, caller_of
from producer_api.dialects.common import (
    bad_request,
    failure_of,
    find,
    flask_errors,
    result_url,
    submit,
)
from producer_api.http.multipart import Form, FormSpec
from producer_api.http.query import json_answer
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.jobs.permission import limited_priority
from producer_api.jobs.staging import Staging
from schemas.jobs import JobStatus, Priority, WebhookStyle

NAME = "background_removal"
_FORM = FormSpec(
    files=frozenset({"image"}),
    fields=frozenset({"image_url", "webhook_url", "is_paid_user"}),
    url_fields=frozenset({"image_url"}),
    strict=False,
)
_TRUE = frozenset({"true", "1", "yes", "on"})
_MAX_IDS = 1000


@flask_errors
async def remove_background(request: web.Request) -> web.Response:
    """POST /remove_background

    A paid user's job has the highest priority that the caller's key allows: the client cannot
    choose another one.
    """

    def body(form: Form, staging: Staging) -> dict[str, Any]:
        return _body(form, staging, caller_of(request))

    record = await submit(
        request, _FORM, body, dialect=NAME, webhook_style=WebhookStyle.BACKGROUND_REMOVAL
    )
    return json_answer({"id": record.state.job_id})


def _body(form: Form, staging: Staging, caller: Caller) -> dict[str, Any]:
    url = form.text("image_url")
    if bool(staging.images) == bool(url):
        raise bad_request("Send either an image or an image_url.")
    if len(staging.images) > 1:
        raise bad_request("Send one image a request.")
    paid = form.text("is_paid_user").lower() in _TRUE
    body: dict[str, Any] = {
        "operation": "remove-background",
        "priority": limited_priority(Priority.HIGH, caller) if paid else Priority.LOW,
        "inputs": [{"url": url}] if url else [],
    }
    if webhook_url := form.text("webhook_url"):
        body["webhook"] = {"url": webhook_url}
    return body


@flask_errors
async def get_result(request: web.Request) -> web.Response:
    """GET /get_result?id=&id="""
    ids = [job_id for job_id in request.query.getall("id", []) if job_id]
    if not ids:
        raise bad_request("No id was given; ask as /get_result?id=...&id=...")
    if len(ids) > _MAX_IDS:
        raise bad_request(f"Ask for {_MAX_IDS} ids at most.")
    return json_answer(await asyncio.gather(*(_entry(request, job_id) for job_id in ids)))


async def _entry(request: web.Request, job_id: str) -> dict[str, Any]:
    record = await find(request, job_id)
    if record is None:
        return {"id": job_id, "status": "failed", "error": "There is no task of this id."}
    if not record.state.status.ended:
        return {"id": job_id, "status": "processing"}
    if record.state.status is JobStatus.SUCCEEDED:
        url = await result_url(request, record.items[0])
        return {"id": job_id, "status": "completed", "image_url": url}
    return {"id": job_id, "status": "failed", "error": failure_of(record)}


_DOCS = Docs(form={"image": FILE, "image_url": TEXT, "webhook_url": TEXT, "is_paid_user": TEXT})
_RESULT_DOCS = Docs(query={"id": {"type": "array", "items": TEXT}})

ROUTES = (
    Route("POST", "/remove_background", remove_background, "Remove a background", NAME, _DOCS),
    Route("GET", "/get_result", get_result, "Results of several tasks", NAME, _RESULT_DOCS),
)
