"""Objects gathered in memory or a temporary file until a remote store takes them whole."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from imagemill.storage.base import StoredObject
from imagemill.storage.errors import StoreUnavailable

# Bytes of an object that are held in memory; a larger one is gathered in a temporary file.
MEMORY_BYTES = 1024 * 1024


class Uploads(Protocol):
    """A store that takes an object whole, with its size in bytes and its digest."""

    def upload(self, key: str, file: BinaryIO, size: int, digest: str, content_type: str) -> None:
        """Store an object. Raises StoreUnavailable."""
        ...


class SpooledWriter:
    """An ObjectWriter that gathers the object and uploads it whole at its commit."""

    def __init__(self, store: Uploads, key: str, memory: int | None) -> None:
        """Begin an object of which `memory` bytes, and MEMORY_BYTES at most, are held in memory."""
        self._store = store
        self._key = key
        self._most_held = MEMORY_BYTES if memory is None else min(memory, MEMORY_BYTES)
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._memory = bytearray()
        self._path = ""
        self._disk: Any = None

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._bytes += len(chunk)
        if not self._path and self._bytes <= self._most_held:
            self._memory += chunk
            return
        with _keeping():
            if self._disk is None:
                self._disk = self._opened()
            self._disk.write(chunk)

    @property
    def held(self) -> int:
        return len(self._memory)

    def digest(self) -> str:
        return self._digest.hexdigest()

    def file(self) -> BinaryIO:
        if not self._path:
            return io.BytesIO(self._memory)
        with _keeping():
            # A request may have a hundred images, so none keeps a descriptor until more bytes come.
            self._close()
            return open(self._path, "rb")

    def commit(self, content_type: str) -> StoredObject:
        try:
            with self.file() as file:
                self._store.upload(self._key, file, self._bytes, self.digest(), content_type)
        finally:
            self.abort()
        return StoredObject(self._key, self._bytes, self.digest())

    def abort(self) -> None:
        self._memory.clear()
        try:
            self._close()
        finally:
            if self._path:
                os.unlink(self._path)
                self._path = ""

    def _opened(self) -> Any:
        """Open the temporary file to append to, created with the bytes that were in memory."""
        if self._path:
            return open(self._path, "ab")
        disk = tempfile.NamedTemporaryFile(prefix="imagemill-", delete=False)  # noqa: SIM115
        self._path = disk.name
        disk.write(self._memory)
        self._memory.clear()
        return disk

    def _close(self) -> None:
        disk, self._disk = self._disk, None
        if disk is not None:
            disk.close()


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"an upload cannot be kept in the temporary folder: {error.strerror}"
        ) from error
