"""Fetches a file from a guarded URL, within limits of size and time."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from yarl import URL

from imagemill.net.guard import Target, UrlGuard, UrlRefused, UrlTooLarge, UrlUnreachable

_REDIRECTS = {301, 302, 303, 307, 308}
# Answers of a server that may be better off in a moment; so may all of 500 and above.
_PASSING = {408, 425, 429}
_CHUNK = 64 * 1024
_MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class FetchLimits:
    """What a fetch may take: `total_s` seconds from the first name lookup to the last byte."""

    max_bytes: int
    total_s: float = 30.0
    connect_s: float = 5.0
    max_redirects: int = 5


@dataclass(frozen=True)
class FetchedFile:
    """A fetched file, in a `with` statement; `file` stands at its beginning and can be sought in.

    `content_type` is what the server said, without parameters; it may be wrong or empty.
    """

    file: BinaryIO
    bytes: int
    sha256: str
    content_type: str

    def __enter__(self) -> FetchedFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.file.close()


def fetch(
    url: str, limits: FetchLimits, guard: UrlGuard, tls: ssl.SSLContext | None = None
) -> FetchedFile:
    """The file that the URL answers; it blocks, so it is for processes that may wait.

    `tls` replaces the system's trust in certificate authorities.

    Raises:
        UrlBlocked: the URL, or one it redirects to, is not allowed.
        UrlUnreachable: no address answers, or not in time, or with an error, or incompletely.
        UrlTooLarge: the file has more than `max_bytes`.
    """
    deadline = _Deadline(limits.total_s)
    try:
        for _ in range(limits.max_redirects + 1):
            target = guard.resolve(url, deadline.left())
            with _connected(target, limits, deadline, tls) as sock:
                response = _request(target.url, sock, deadline)
                if response.status not in _REDIRECTS:
                    return _download(response, limits)
                url = _redirection(target.url, response)
    except UrlRefused:
        raise
    except TimeoutError as error:
        raise UrlUnreachable("The URL did not answer in time.") from error
    except (OSError, http.client.HTTPException) as error:
        raise UrlUnreachable("The server of the URL broke off its answer.") from error
    raise UrlUnreachable(f"The URL redirects more than {limits.max_redirects} times.", False)


class _Deadline:
    """A moment after which nothing is waited for."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until the deadline, however slowly its bytes trickle in."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv_into(buffer)


class _DeadlineSocket:
    """As much of a socket as http.client uses; whoever opened the real one closes it."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline), _CHUNK)

    def close(self) -> None:
        """Does nothing: http.client calls it before the answer's body is read."""


def _connected(
    target: Target, limits: FetchLimits, deadline: _Deadline, tls: ssl.SSLContext | None
) -> socket.socket:
    port = target.url.port or 0
    failure: OSError | None = None
    for address in target.addresses:
        try:
            wait = min(limits.connect_s, deadline.left())
            sock = socket.create_connection((address, port), timeout=wait)
        except OSError as error:
            deadline.left()
            failure = error
            continue
        try:
            return _encrypted(sock, target.url, deadline, tls) if _secure(target) else sock
        except BaseException:
            sock.close()
            raise
    raise UrlUnreachable("The server of the URL cannot be connected to.") from failure


def _secure(target: Target) -> bool:
    return target.url.scheme == "https"


def _encrypted(
    sock: socket.socket, url: URL, deadline: _Deadline, tls: ssl.SSLContext | None
) -> ssl.SSLSocket:
    # The certificate must be the named host's, though the connection went to an address.
    sock.settimeout(deadline.left())
    try:
        return (tls or _system_tls()).wrap_socket(
            sock, server_hostname=str(url.raw_host).rstrip(".")
        )
    except ssl.SSLCertVerificationError as error:
        raise UrlUnreachable("The certificate of the URL's server is not valid.", False) from error


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(url: URL, sock: socket.socket, deadline: _Deadline) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(str(url.raw_host), url.port)
    connection.sock = _DeadlineSocket(sock, deadline)
    connection.putrequest("GET", url.raw_path_qs, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", str(url.host_port_subcomponent))
    connection.putheader("User-Agent", "imagemill")
    connection.putheader("Accept", "image/*,*/*;q=0.5")
    # A compressed answer could be small here and huge once opened.
    connection.putheader("Accept-Encoding", "identity")
    connection.putheader("Connection", "close")
    connection.endheaders()
    return connection.getresponse()


def _redirection(url: URL, response: http.client.HTTPResponse) -> str:
    location = response.getheader("Location", "")
    # Header bytes are read as Latin-1; the URLs in them are UTF-8.
    location = location.encode("latin-1").decode("utf-8", "replace")
    if not location:
        raise UrlUnreachable("The URL redirects to nowhere.", False)
    try:
        return str(url.join(URL(location, encoded=location.isascii())))
    except ValueError as error:
        raise UrlUnreachable("The URL redirects to a malformed one.", False) from error


def _download(response: http.client.HTTPResponse, limits: FetchLimits) -> FetchedFile:
    status = response.status
    if not 200 <= status < 300:
        passing = status >= 500 or status in _PASSING
        raise UrlUnreachable(f"The URL answered with status {status}.", passing)
    if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
        raise UrlUnreachable("The URL answers in a compressed form that was not asked for.", False)
    expected = response.length
    if expected is not None and expected > limits.max_bytes:
        raise _too_large(limits)
    file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 FetchedFile closes it
    try:
        digest, size = hashlib.sha256(), 0
        while chunk := response.read1(_CHUNK):
            size += len(chunk)
            if size > limits.max_bytes:
                raise _too_large(limits)
            digest.update(chunk)
            file.write(chunk)
        if expected is not None and size < expected:
            raise UrlUnreachable("The server of the URL broke off its answer.")
    except BaseException:
        file.close()
        raise
    file.seek(0)
    content_type = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
    return FetchedFile(file, size, digest.hexdigest(), content_type)


def _too_large(limits: FetchLimits) -> UrlTooLarge:
    return UrlTooLarge(f"The file at the URL has more than {limits.max_bytes:,} bytes.")
