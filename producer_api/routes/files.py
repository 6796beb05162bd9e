"""Objects under signed URLs of the API: read, and upload."""

from __future__ import annotations

import time

from aiohttp import web

from imagemill.storage import InvalidKey, SignatureRefused
from imagemill.storage.signing import SignedRequest
from producer_api.context import API, Api
from producer_api.http.body import body_chunks
from producer_api.http.files import CONDITIONAL_HEADERS, FILE_ANSWERS, serve_object
from producer_api.http.problems import Problem
from producer_api.http.routing import TEXT, Docs, Route
from producer_api.jobs.staging import Staging


async def get_file(request: web.Request) -> web.StreamResponse:
    """GET /files/{key}"""
    api = request.app[API]
    signed = _verified(request, api)
    return await serve_object(
        request, api.store, signed.key, signed.content_type, signed.filename, attachment=True
    )


async def put_file(request: web.Request) -> web.Response:
    """PUT /files/{key}: the upload that `POST /v1/uploads` made a URL for."""
    api = request.app[API]
    signed = _verified(request, api)
    prefix, dot, index = signed.key.rpartition(".")
    async with Staging(api.store, prefix + dot, api.submitter.limits.image) as staging:
        incoming = staging.begin(int(index), None)
        async for chunk in body_chunks(request):
            incoming.write(chunk)
            if signed.bytes is not None and incoming.bytes > signed.bytes:
                break
        if signed.bytes is not None and incoming.bytes != signed.bytes:
            raise Problem(
                422,
                "upload_size_differs",
                f"This URL takes an image of exactly {signed.bytes} bytes.",
            )
        incoming.end()
        await staging.commit()
        staging.keep()
    return web.Response(status=204)


def _verified(request: web.Request, api: Api) -> SignedRequest:
    """Return what a signed URL permits.

    Raises:
        Problem: 403 when this server did not sign it, 410 when it has expired.
    """
    key = request.match_info["key"]
    try:
        # With `now=0` the signature alone is verified: only the holder of a signed URL learns
        # that it has expired.
        signed = api.signer.verify(request.method, key, request.query, now=0)
    except (SignatureRefused, InvalidKey) as error:
        raise Problem(
            403, "signature_invalid", "This URL was not signed by this server, or was changed."
        ) from error
    if signed.expires < time.time():
        raise Problem(
            410, "url_expired", "This URL has expired; read the job again to get a new one."
        )
    return signed


_SIGNED = {"expires": {"type": "integer"}, "signature": TEXT}
_GET_DOCS = Docs(query=_SIGNED, headers=CONDITIONAL_HEADERS, answers={**FILE_ANSWERS, 302: None})
_PUT_DOCS = Docs(query=_SIGNED, answers={204: None})

ROUTES = (
    Route("GET", "/files/{key:.+}", get_file, "An object by its signed URL", "files", _GET_DOCS),
    Route("PUT", "/files/{key:.+}", put_file, "Upload to a signed URL", "files", _PUT_DOCS),
)
