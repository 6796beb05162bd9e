"""An object store for asyncio: calls that block on the network run in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from imagemill.storage.base import (
    ObjectStat,
    ObjectStore,
    ObjectWriter,
    StoredObject,
)

Result = TypeVar("Result")


class AsyncStore:
    """An ObjectStore whose calls never block the loop for longer than a local file takes.

    A remote store is called in a thread. A folder is called at once: handing a call to a thread
    costs more than a rename or a stat. Every call raises as that of ObjectStore.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def blocking(self) -> ObjectStore:
        """The store itself, for code that runs in a thread of its own."""
        return self._store

    @property
    def serves_own_urls(self) -> bool:
        """True if clients fetch objects from another server than the API."""
        return self._store.remote

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Start an object; neither this nor the writer's `write` waits for the network."""
        return self._store.writer(key, memory)

    def local_path(self, key: str) -> Path | None:
        """Return the object's file; None when the store has no files. Raises ObjectNotFound."""
        return self._store.local_path(key)

    async def commit(self, writer: ObjectWriter, content_type: str) -> StoredObject:
        """Make a written object visible under its key."""
        return await self._call(writer.commit, content_type)

    async def stat(self, key: str) -> ObjectStat:
        """Return size, type and time of an object. Raises ObjectNotFound."""
        return await self._call(self._store.stat, key)

    async def open(self, key: str) -> BinaryIO:
        """Open an object as a readable, seekable file. Raises ObjectNotFound."""
        return await self._call(self._store.open, key)

    async def delete(self, *keys: str) -> None:
        """Delete the objects that exist."""
        await self._call(self._store.delete, *keys)

    async def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a URL that answers the object without a key for `expires_s` seconds."""
        return await self._call(self._store.url, key, expires_s, filename, content_type)

    async def check(self) -> None:
        """Raise StoreUnavailable if objects cannot be stored. Runs in a thread: a disk may hang."""
        await asyncio.to_thread(self._store.check)

    async def _call(self, call: Callable[..., Result], *arguments: object) -> Result:
        if self._store.remote:
            return await asyncio.to_thread(call, *arguments)
        return call(*arguments)
