"""Uploads beside a job's request: straight to S3, or to a signed URL of this server."""

from __future__ import annotations

import time
from typing import Literal

from aiohttp import web
from pydantic import Field

from imagemill.images.formats import FORMATS
from imagemill.storage import loose_upload_key
from producer_api.context import API
from producer_api.http.body import read_body
from producer_api.http.documents import UploadDocument
from producer_api.http.forms import parse_json
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from producer_api.ids import new_id
from schemas.base import Strict
from schemas.times import from_epoch

# Seconds that a URL to upload to is valid.
_LIFETIME_S = 3600
_CONTENT_TYPES = tuple(sorted(known.content_type for known in FORMATS.values()))


class UploadBody(Strict):
    """The image that will be uploaded."""

    content_type: Literal[_CONTENT_TYPES] = Field(  # type: ignore[valid-type]
        "image/jpeg", description="media type of the image"
    )


async def create_upload(request: web.Request) -> web.Response:
    """POST /v1/uploads: where to send the bytes; the image is checked when a job names it."""
    api = request.app[API]
    raw = await read_body(request, api.settings.max_field_bytes)
    body = parse_json(raw or b"{}", UploadBody)
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
