"""Fetches a file from a URL that a user gave, within limits of size and time."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
import threading
from dataclasses import dataclass
from typing import BinaryIO

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from imagemill.net.errors import UrlTooLarge, UrlUnreachable
from imagemill.net.guard import UrlGuard, guarded_session

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Statuses below 500 after which another attempt may succeed; at 500 and above all may.
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
# A file with more bytes is written to the temporary folder.
_MAX_BYTES_IN_MEMORY = 8 * 1024 * 1024
_HEADERS = {
    "User-Agent": "imagemill",
    "Accept": "image/*,*/*;q=0.5",
    # A compressed answer may be small on the way and too large for memory once decoded.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class FetchLimits:
    """Limits of a fetch.

    `total_s` bounds the seconds from the first name lookup to the last byte, redirects included;
    `connect_s` those of one connection and its TLS handshake.
    """

    max_bytes: int
    total_s: float = 30.0
    connect_s: float = 5.0
    max_redirects: int = 5


@dataclass(frozen=True)
class FetchedFile:
    """A fetched file, closed by its `with` statement; `file` can seek and is at its beginning.

    `content_type` is what the server claims, without parameters; it may be wrong or empty.
    """

    file: BinaryIO
    bytes: int
    sha256: str
    content_type: str

    def __enter__(self) -> FetchedFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.file.close()


class UrlFetcher:
    """Fetches files for blocking callers, several threads at once.

    All fetches of a process share one event loop, in a thread of its own, and one session: so
    connections are reused. Both are started by the first fetch, that is after a fork.
    """

    def __init__(
        self,
        guard: UrlGuard,
        limits: FetchLimits,
        *,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`tls` replaces the system's certificate authorities, `resolver` its name lookup."""
        self._guard = guard
        self._limits = limits
        self._tls = tls
        self._resolver = resolver
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    def fetch(self, url: str) -> FetchedFile:
        """Fetch the file at a URL; blocks for `total_s` seconds at most.

        Raises:
            UrlBlocked: the URL, or one it redirects to, is not allowed.
            UrlUnreachable: no address answers, or not in time, or with an error, or incompletely.
            UrlTooLarge: the file has more than `max_bytes`.
        """
        fetching = asyncio.run_coroutine_threadsafe(self._fetch(url), self._running_loop())
        return fetching.result()

    def close(self) -> None:
        """Close the connections and end the thread; fetches under way must have ended."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._close_session(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_loop, args=(self._loop,), name="fetch URLs", daemon=True
                ).start()
            return self._loop

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch(self, url: str) -> FetchedFile:
        try:
            # Not aiohttp's own total: that restarts with each redirect.
            async with asyncio.timeout(self._limits.total_s):
                return await self._follow(url)
        except TimeoutError as error:
            raise UrlUnreachable("The URL did not answer in time.") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise UrlUnreachable("The host name of the URL does not resolve.") from error
        except aiohttp.ClientConnectorCertificateError as error:
            message = "The certificate of the URL's server is not valid."
            raise UrlUnreachable(message, transient=False) from error
        except aiohttp.ClientConnectorError as error:
            raise UrlUnreachable("The server of the URL cannot be connected to.") from error
        # aiohttp wraps every OSError of the network; others are this machine's, as of a full disk.
        except aiohttp.ClientError as error:
            raise UrlUnreachable("The server of the URL broke off its answer.") from error

    async def _follow(self, url: str) -> FetchedFile:
        """Request the URL and those it redirects to.

        Not by aiohttp's own redirects: they take a user name out of the URL before its middlewares
        see it, send it as credentials, and quote again what the server has signed.
        """
        for _ in range(self._limits.max_redirects + 1):
            target = self._guard.parse(url)
            async with self._open_session().get(target, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _download(response, self._limits.max_bytes)
                url = _redirect_target(target, response)
        message = f"The URL redirects more than {self._limits.max_redirects} times."
        raise UrlUnreachable(message, transient=False)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(
                self._guard,
                inner=self._resolver,
                tls=self._tls,
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(sock_connect=self._limits.connect_s),
            )
        return self._session


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _redirect_target(url: URL, response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location", "")
    # Bytes of a header that are no UTF-8 come as surrogates.
    location = location.encode(errors="surrogateescape").decode(errors="replace")
    if not location:
        raise UrlUnreachable("The URL redirects to nowhere.", transient=False)
    try:
        return str(url.join(URL(location, encoded=location.isascii())))
    except ValueError as error:
        raise UrlUnreachable("The URL redirects to a malformed one.", transient=False) from error


async def _download(response: aiohttp.ClientResponse, max_bytes: int) -> FetchedFile:
    status = response.status
    if not 200 <= status < 300:
        transient = status >= 500 or status in _TRANSIENT_STATUSES
        raise UrlUnreachable(f"The URL answered with status {status}.", transient)
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        message = "The URL answers in a compressed form that was not asked for."
        raise UrlUnreachable(message, transient=False)
    if (response.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    file = tempfile.SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY)  # noqa: SIM115 FetchedFile closes it
    try:
        digest, size = hashlib.sha256(), 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            digest.update(chunk)
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return FetchedFile(file, size, digest.hexdigest(), content_type)


def _too_large(max_bytes: int) -> UrlTooLarge:
    return UrlTooLarge(f"The file at the URL has more than {max_bytes:,} bytes.")
