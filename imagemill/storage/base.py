"""What every object store can do: the protocol that the folder and the S3 store fulfil."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class StoredObject(NamedTuple):
    """An object just stored; `sha256` in hexadecimal."""

    key: str
    bytes: int
    sha256: str


class ObjectStat(NamedTuple):
    """What a store knows of an object without reading it; `modified` is in UTC."""

    key: str
    bytes: int
    content_type: str
    modified: datetime


class UploadTarget(NamedTuple):
    """Where and how a client stores an object without passing it through the API."""

    url: str
    method: str
    headers: dict[str, str]


class ObjectWriter(Protocol):
    """An object being written; nothing shows under its key before `commit`.

    `held` is how many of its bytes are in memory.
    """

    @property
    def held(self) -> int: ...

    def write(self, chunk: bytes) -> None:
        """Adds bytes. Raises StoreUnavailable when there is no room."""
        ...

    def digest(self) -> str:
        """The SHA-256 of what was written so far, in hexadecimal."""
        ...

    def file(self) -> BinaryIO:
        """A readable, seekable view of what was written so far; the caller closes it."""
        ...

    def commit(self, content_type: str) -> StoredObject:
        """Makes the object visible under its key. Raises StoreUnavailable."""
        ...

    def abort(self) -> None:
        """Drops what was written; after `commit` or a first `abort` it does nothing."""
        ...


class ObjectStore(Protocol):
    """Objects by key. Every call raises InvalidKey for a bad key, StoreUnavailable when it must.

    `remote` tells that calls block on the network: asynchronous callers run them in a thread.
    All stores can be used from several threads; a process opens its own.
    """

    remote: bool

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Starts an object whose bytes come in pieces.

        A small one stays in memory until its commit, if it has `memory` bytes at most.
        """
        ...

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Stores a whole object, replacing one of that key."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectNotFound."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The object as a readable, seekable file. Raises ObjectNotFound."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The object's file, to be served with sendfile; None when the store has no files.

        Raises ObjectNotFound.
        """
        ...

    def stat(self, key: str) -> ObjectStat:
        """Size, type and time. Raises ObjectNotFound."""
        ...

    def delete(self, *keys: str) -> None:
        """Deletes those that exist."""
        ...

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """All objects whose key begins with `prefix`, in no promised order.

        The content type is the one that the key's ending tells.
        """
        ...

    def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A URL that answers the object without a key for `expires_s` seconds (7 days at most).

        `filename` makes browsers save it under that name; `content_type` replaces the stored one.
        The object need not exist yet.
        """
        ...

    def upload_url(self, key: str, expires_s: int, content_type: str) -> UploadTarget:
        """Lets a client store the object itself, within `expires_s` seconds (7 days at most)."""
        ...

    def check(self) -> None:
        """Raises StoreUnavailable, with a sentence, when objects cannot be stored."""
        ...
