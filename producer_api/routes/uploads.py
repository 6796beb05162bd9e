"""Uploads beside a job's request: straight to the store, or to a signed URL of this server."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from aiohttp import web
from pydantic import Field

from imagemill.images.formats import FORMATS
from imagemill.storage import loose_upload_key
from imagemill.storage.urls import end_of
from producer_api.access.caller import caller_of
from producer_api.context import API
from producer_api.http.body import read_body
from producer_api.http.documents import UploadDocument
from producer_api.http.forms import parse_json
from producer_api.http.problems import Problem
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from producer_api.ids import new_id, sized_upload_id
from schemas.base import Strict
from schemas.errors import ErrorCode
from schemas.times import from_epoch

# Seconds that a URL to upload to is valid.
_LIFETIME_S = 3600
_CONTENT_TYPES = tuple(sorted(known.content_type for known in FORMATS.values()))


class UploadBody(Strict):
    """The image that will be uploaded."""

    content_type: Literal[_CONTENT_TYPES] = Field(  # type: ignore[valid-type]
        "image/jpeg", description="media type of the image"
    )
    bytes: int | None = Field(
        None,
        ge=1,
        description="size of the image in bytes, which the upload must then have exactly",
    )


async def create_upload(request: web.Request) -> web.Response:
    """POST /v1/uploads: where to send the bytes; the image is checked when a job names it."""
    api = request.app[API]
    raw = await read_body(request, api.settings.max_field_bytes)
    body = parse_json(raw or b"{}", UploadBody)
    if body.bytes is not None and body.bytes > api.settings.max_image_bytes:
        raise Problem(
            413,
            str(ErrorCode.IMAGE_TOO_LARGE),
            f"An image may have {api.settings.max_image_bytes} bytes at most.",
        )
    upload_id = sized_upload_id(new_id(), body.bytes)
    key = loose_upload_key(upload_id, caller_of(request).owner)
    # Signing may have to renew the store's credentials first.
    target = await asyncio.to_thread(
        api.object_urls.upload, key, _LIFETIME_S, body.content_type, body.bytes
    )
    # The store's credentials may end before the lifetime that was asked for.
    ends = end_of(target.url) or time.time() + _LIFETIME_S
    return json_answer(
        {
            "upload_id": upload_id,
            "url": target.url,
            "method": target.method,
            "headers": target.headers,
            "max_bytes": body.bytes or api.settings.max_image_bytes,
            "expires_at": from_epoch(ends),
        },
        status=201,
    )


_DOCS = Docs(body=UploadBody, answers={201: UploadDocument})

ROUTES = (Route("POST", "/v1/uploads", create_upload, "Get a URL to upload to", "uploads", _DOCS),)
