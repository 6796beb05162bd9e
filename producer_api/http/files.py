"""Answers with the bytes of an object: from its file, or by sending the client to the store."""

from __future__ import annotations

import asyncio
import math
import os
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from imagemill.storage import ObjectNotFound
from imagemill.storage.asynchronous import AsyncStore
from producer_api.http.conditions import Selection, Validators, select
from producer_api.http.problems import Problem
from producer_api.http.routing import TEXT

# Seconds that a redirect's URL is valid: the client follows it at once.
_REDIRECT_S = 300
# Bytes read from a file at a time. A smaller answer is read whole, and sent with its headers.
_CHUNK_BYTES = 256 * 1024
# Objects are what clients stored: no browser may take one for a page of this server.
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

# RFC 2483, 5.
URI_LIST = "text/uri-list"
# Documentation of the routes that answer with an object.
CONDITIONAL_HEADERS = {
    name: TEXT
    for name in (
        hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.IF_UNMODIFIED_SINCE,
        hdrs.IF_RANGE, hdrs.RANGE,
    )
}  # fmt: skip
FILE_ANSWERS = {200: "image/*", 206: "image/*", 304: None}


async def serve_object(
    request: web.Request,
    store: AsyncStore,
    key: str,
    content_type: str | None = None,
    filename: str | None = None,
    *,
    attachment: bool = False,
) -> web.StreamResponse:
    """Answer an object: 302 to a URL of the store, or its file as `conditions.select` decides.

    In place of the redirect, a client that accepts text/uri-list gets the URL.

    Raises:
        ObjectNotFound: there is no such object.
        Problem: 412 when a precondition of the request fails, 416 for a range past the end.
    """
    path = store.local_path(key)
    if path is None and request.method == hdrs.METH_HEAD:
        # The method is part of a presigned URL: one for GET answers HEAD with 403.
        return await _head(store, key, content_type)
    if path is None:
        url = await store.url(key, _REDIRECT_S, filename, content_type)
        if URI_LIST in request.headers.get(hdrs.ACCEPT, ""):
            # A page's script cannot follow a redirect to another origin; its images can load it.
            body = f"{url}\r\n".encode()
            return web.Response(
                body=body, content_type=URI_LIST, headers={"Cache-Control": "no-store"}
            )
        return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    headers = dict(_SAFE)
    headers[hdrs.CONTENT_TYPE] = content_type or (await store.stat(key)).content_type
    if filename:
        kind = "attachment" if attachment else "inline"
        headers[hdrs.CONTENT_DISPOSITION] = f"{kind}; filename*=UTF-8''{quote(filename, safe='')}"
    try:
        return await asyncio.to_thread(_answer, request, path, headers)
    except FileNotFoundError as error:
        raise ObjectNotFound(key) from error


async def _head(store: AsyncStore, key: str, content_type: str | None) -> web.StreamResponse:
    facts = await store.stat(key)
    head = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type or facts.content_type})
    head.content_length = facts.bytes
    head.last_modified = facts.modified
    return head


def _answer(request: web.Request, path: Path, headers: dict[str, str]) -> web.StreamResponse:
    file = path.open("rb")
    try:
        response = _response(request, file, headers)
    except BaseException:
        file.close()
        raise
    if not isinstance(response, _FileStream):
        file.close()
    return response


def _response(request: web.Request, file: BinaryIO, headers: dict[str, str]) -> web.StreamResponse:
    # Of the open file: one that replaces it meanwhile has other validators and another size.
    facts = os.fstat(file.fileno())
    validators = Validators(
        f"{facts.st_mtime_ns:x}-{facts.st_size:x}", math.floor(facts.st_mtime), facts.st_size
    )
    selection = select(request.method, request.headers, validators)
    if selection.status is HTTPStatus.PRECONDITION_FAILED:
        raise Problem(412, "precondition_failed", "The file is not in the state that you named.")
    if selection.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise Problem(
            416, "range_unsatisfiable", f"The file has {facts.st_size} bytes.",
            headers={hdrs.CONTENT_RANGE: f"bytes */{facts.st_size}"},
        )  # fmt: skip
    headers |= validators.headers()
    if selection.status is HTTPStatus.NOT_MODIFIED:
        # RFC 9110, 15.4.5: without fields that describe the content, which the client has.
        del headers[hdrs.CONTENT_TYPE]
        return web.Response(status=304, headers=headers)
    if selection.status is HTTPStatus.PARTIAL_CONTENT:
        last = selection.stop - 1
        headers[hdrs.CONTENT_RANGE] = f"bytes {selection.first}-{last}/{facts.st_size}"
    if request.method == hdrs.METH_HEAD:
        head = web.StreamResponse(headers=headers)
        head.content_length = selection.count
        return head
    file.seek(selection.first)
    if selection.count <= _CHUNK_BYTES:
        return web.Response(
            status=selection.status, body=file.read(selection.count), headers=headers
        )
    return _FileStream(file, selection, headers)


class _FileStream(web.StreamResponse):
    """Sends an open file from where it stands, chunk by chunk, and closes it."""

    def __init__(self, file: BinaryIO, selection: Selection, headers: dict[str, str]) -> None:
        super().__init__(status=selection.status, headers=headers)
        self.content_length = selection.count
        self._file = file
        self._left = selection.count

    # Here and not in the handler, where a client that goes away would be an error to answer.
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers and the whole content."""
        try:
            writer = await super().prepare(request)
            while self._left:
                chunk = await asyncio.to_thread(self._file.read, min(self._left, _CHUNK_BYTES))
                if not chunk:
                    raise ConnectionError("the file became shorter while it was sent")
                self._left -= len(chunk)
                await self.write(chunk)
            return writer
        finally:
            self._file.close()
