"""Uploads that do not pass through a job's request: straight to S3, or to a signed URL of ours."""

from __future__ import annotations

import time

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from imagemill.images.formats import FORMATS
from imagemill.storage import loose_upload_key
from producer_api.context import API
from producer_api.http.body import read_body
from producer_api.http.documents import UploadDocument
from producer_api.http.forms import parse_json
from producer_api.http.problems import field_problem
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from producer_api.ids import new_id
from schemas.times import from_epoch

_LIFETIME_S = 3600
_CONTENT_TYPES = sorted(known.content_type for known in FORMATS.values())


class UploadBody(BaseModel):
    """What will be uploaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content_type: str = Field("image/jpeg", description="type of the image to be uploaded")


async def create_upload(request: web.Request) -> web.Response:
    """POST /v1/uploads: where to send the bytes; the image is checked when a job names it."""
    api = request.app[API]
    raw = await read_body(request, api.settings.max_field_bytes)
    body = parse_json(raw or b"{}", UploadBody)
    if body.content_type not in _CONTENT_TYPES:
        raise field_problem(
            "content_type", f"expected one of {', '.join(_CONTENT_TYPES)}", code="fields_invalid"
        )
    upload_id = new_id()
    target = await api.store.upload_url(loose_upload_key(upload_id), _LIFETIME_S, body.content_type)
    return json_answer(
        {
            "upload_id": upload_id,
            "url": target.url,
            "method": target.method,
            "headers": target.headers,
            "max_bytes": api.settings.max_image_bytes,
            "expires_at": from_epoch(time.time() + _LIFETIME_S),
        },
        status=201,
    )


_DOCS = Docs(body=UploadBody, answers={201: UploadDocument})

ROUTES = (Route("POST", "/v1/uploads", create_upload, "Get a URL to upload to", "uploads", _DOCS),)
