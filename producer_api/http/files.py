"""Answers with the bytes of an object: from its file, or by sending the client to the store."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from imagemill.storage import ObjectNotFound, ObjectStore
from producer_api.jobs.staging import in_store

# What a redirect's URL must outlive is the client following it.
_REDIRECT_S = 300
# Signed URLs and results are what clients stored: no browser may take them for a page of ours.
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


async def serve_object(
    store: ObjectStore,
    key: str,
    content_type: str | None = None,
    filename: str | None = None,
    *,
    attachment: bool = False,
) -> web.StreamResponse:
    """The object itself with sendfile, or a 302 to a presigned URL of the store.

    Raises:
        ObjectNotFound: there is no such object.
    """
    if store.remote:
        url = await in_store(store, store.url, key, _REDIRECT_S, filename, content_type)
        return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    path = store.local_path(key)
    if path is None:
        raise ObjectNotFound(key)
    headers = dict(_SAFE)
    headers["Content-Type"] = content_type or store.stat(key).content_type
    if filename:
        kind = "attachment" if attachment else "inline"
        headers["Content-Disposition"] = f"{kind}; filename*=UTF-8''{quote(filename, safe='')}"
    return web.FileResponse(path, headers=headers)
