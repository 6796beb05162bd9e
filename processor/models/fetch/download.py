"""Download one file over HTTP and resume it where an earlier attempt stopped."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from processor.models.store import sha256_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes received, and the total or None if the server does not send it."""

CHUNK_BYTES = 1 << 18
# Statuses of overload and of gateways: a later attempt may succeed.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(Exception):
    """The download failed; the message has the URL and the reason."""


@dataclass(frozen=True)
class Patience:
    """The retry policy: give up after `attempts` in a row without a new byte."""

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 15.0
    timeout_s: float = 30.0

    def wait_s(self, failures: int) -> float:
        """Return the backoff in seconds after that many failures in a row."""
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))


def download(url: str, part: Path, progress: Progress, patience: Patience) -> None:
    """Download the URL into `part`, resuming after the bytes that it already has.

    A failed download leaves the bytes received in `part`.

    Raises:
        DownloadError: the server refuses, or `attempts` in a row brought no new byte.
        OSError: `part` cannot be written.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = _size(part)
        try:
            if _attempt(url, part, progress, patience.timeout_s):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in TRANSIENT:
                raise DownloadError(f"{url}: HTTP {error.code} {error.reason}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = str(error) or type(error).__name__
        except TimeoutError:
            reason = f"no bytes for {patience.timeout_s:g} s"
        failures = 1 if _size(part) > before else failures + 1
        if failures >= patience.attempts:
            raise DownloadError(f"{url}: {reason} ({failures} attempts in a row)")
        time.sleep(patience.wait_s(failures))


def download_checked(
    url: str, part: Path, sums: Sequence[str], progress: Progress, patience: Patience
) -> str:
    """Download the URL into `part` and return its sha256, in hex, which is one of `sums`.

    Raises:
        DownloadError: the download failed, or the sha256 is another one; then `part` is deleted.
        OSError: `part` cannot be written.
    """
    resumed = part.exists()
    while True:
        download(url, part, progress, patience)
        digest = sha256_of(part)
        if digest in sums:
            return digest
        part.unlink()
        if not resumed:
            raise DownloadError(f"{url} gave sha256 {digest}, not {' or '.join(sums)}")
        # The bytes of an earlier run may be of another file: download once more from the start.
        resumed = False


def _attempt(url: str, part: Path, progress: Progress, timeout_s: float) -> bool:
    """Send one request; return True if the file is complete afterwards."""
    have = _size(part)
    # Range offsets count stored bytes: a compressed transfer would not line up with them.
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        error.close()
        total = _total(error.headers.get("Content-Range"))
        if total == have:
            return True
        # `part` is longer than the server's file or not of it: start over.
        part.unlink()
        return False
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        start = have if resumed else 0
        if resumed and _start(response.headers.get("Content-Range")) != have:
            raise DownloadError(f"{url}: the server resumed at another byte than was asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file:
            done = _copy(response, file, start, total, progress)
    return total is None or done == total


def _copy(
    response: http.client.HTTPResponse,
    file: BinaryIO,
    done: int,
    total: int | None,
    progress: Progress,
) -> int:
    progress(done, total)
    # read1 returns the bytes received so far; read would lose them if the connection breaks.
    while chunk := response.read1(CHUNK_BYTES):
        file.write(chunk)
        done += len(chunk)
        progress(done, total)
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _total(content_range: str | None) -> int | None:
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _start(content_range: str | None) -> int | None:
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match[1]) if match else None
