"""The scalable image inference API: POST /predict, GET /result/<task_id>."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from producer_api.context import API
from producer_api.dialects.common import (
    existing,
    failure_of,
    flask_errors,
    only_types,
    single_image,
    submit,
)
from producer_api.http.multipart import Form, FormSpec
from producer_api.http.query import json_answer, query_text
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.jobs.staging import Staging
from producer_api.read_model.records import JobRecord
from schemas.jobs import JobStatus

NAME = "inference"
_FORM = FormSpec(files=frozenset({"image"}), fields=frozenset(), strict=False)
_EXTENSIONS = frozenset({"jpg", "jpeg", "png"})
_FORMATS = frozenset({"jpeg", "png"})


@flask_errors
async def predict(request: web.Request) -> web.Response:
    """POST /predict?model="""
    model = query_text(request, "model") or request.app[API].settings.inference_model

    def body(_form: Form, staging: Staging) -> dict[str, Any]:
        single_image(staging, "image")
        only_types(staging, _EXTENSIONS, _FORMATS)
        return {"operation": "detect-objects", "params": {"model": model} if model else {}}

    record = await submit(request, _FORM, body, dialect=NAME)
    return json_answer({"task_id": record.state.job_id})


@flask_errors
async def result(request: web.Request) -> web.Response:
    """GET /result/<task_id>"""
    return json_answer(_view(await existing(request, "task_id", "There is no task {id}.")))


def _view(record: JobRecord) -> dict[str, Any]:
    state = record.state
    if not state.status.ended:
        return {"status": "PENDING", "result": None}
    if state.status is not JobStatus.SUCCEEDED:
        return {"status": "FAILURE", "result": failure_of(record)}
    data = (record.items[0].result or {}).get("data") or {}
    detections = [
        {name: found.get(name) for name in ("class", "confidence", "box")}
        for found in data.get("predictions", ())
    ]
    return {"status": "SUCCESS", "result": detections}


_DOCS = Docs(query={"model": TEXT}, form={"image": FILE})

ROUTES = (
    Route("POST", "/predict", predict, "Detect objects in an image", NAME, _DOCS),
    Route("GET", "/result/{task_id}", result, "The detections, or the error", NAME),
)
