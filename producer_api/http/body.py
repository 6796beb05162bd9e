"""Request bodies as they stream in: content codings undone, broken ones answered as problems."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

from aiohttp import hdrs, web

from producer_api.http.problems import Problem

# RFC 9110, 8.4.1; `x-gzip` is an older name of gzip. No library decodes others here.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": 15}
_ACCEPTED = "gzip, deflate, identity"
# Bytes decoded at a time: a small body can stand for a thousand times its size, and the limits
# of the reader are checked between two chunks.
_CHUNK_BYTES = 64 * 1024


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body of a request, decoded, in chunks of any size.

    Raises:
        Problem: 415 for a content coding that is not supported; 400 for a body that is cut off,
            or is not in the coding or the transfer coding that its headers name.
    """
    codings = _codings(request)
    if len(codings) > 1 or not _WINDOW_BITS.keys() >= set(codings):
        raise Problem(
            415,
            "content_encoding_unsupported",
            f"The body has a Content-Encoding that is not supported; send it as one of "
            f"{_ACCEPTED}.",
            # RFC 9110, 12.5.3: how a server says which codings it takes in requests.
            headers={hdrs.ACCEPT_ENCODING: _ACCEPTED},
        )
    decoder = _Decoder(codings[0]) if codings else None
    try:
        async for chunk in request.content.iter_any():
            if decoder is None:
                yield chunk
                continue
            for piece in decoder.decode(chunk):
                yield piece
    except web.RequestPayloadError as error:
        raise Problem(
            400, "body_invalid", "The body is cut off, or its transfer coding is broken."
        ) from error
    if decoder is not None:
        decoder.close()


async def read_body(request: web.Request, limit: int) -> bytes:
    """Read the whole body of a request that holds no image.

    Raises:
        Problem: 413 when it has more than `limit` bytes; else as `body_chunks`.
    """
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > limit:
            raise Problem(413, "body_too_large", f"The body is over the limit of {limit} bytes.")
    return bytes(body)


def _codings(request: web.Request) -> list[str]:
    """List the codings that were applied, first to last; identity is none."""
    text = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ()))
    codings = (part.strip().lower() for part in text.split(","))
    return [coding for coding in codings if coding not in ("", "identity")]


class _Decoder:
    """Undoes gzip, of several members too, or deflate, with or without its zlib header."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._bits = _WINDOW_BITS[coding]
        self._inflate = zlib.decompressobj(self._bits)
        self._begun = False

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk decodes to. Raises Problem (400) when it is not in the coding."""
        try:
            yield from self._pieces(chunk)
        except zlib.error as error:
            raise self._broken() from error

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(self._bits)
            if not self._begun:
                self._begun = True
                # RFC 9110, 8.4.1.2: some send deflate data without the zlib header, whose low
                # four bits would be 8.
                if self._coding == "deflate" and chunk[0] & 0x0F != 8:
                    self._bits = -zlib.MAX_WBITS
                    self._inflate = zlib.decompressobj(self._bits)
            piece = self._inflate.decompress(chunk, _CHUNK_BYTES)
            if piece:
                yield piece
            chunk = self._inflate.unconsumed_tail or self._inflate.unused_data

    def close(self) -> None:
        """Raise Problem (400) when the coded data has not ended."""
        if self._begun and not self._inflate.eof:
            raise self._broken()

    def _broken(self) -> Problem:
        return Problem(400, "body_invalid", f"The body is not whole, valid {self._coding} data.")
