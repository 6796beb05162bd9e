"""The contract of an object store; the folder store and the S3 store keep it."""

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
    """The facts of an object that need no read of it; `modified` is in UTC."""

    key: str
    bytes: int
    content_type: str
    modified: datetime


class UploadTarget(NamedTuple):
    """The request with which a client stores an object without passing it through the API."""

    url: str
    method: str
    headers: dict[str, str]


class ObjectWriter(Protocol):
    """An object being written; readers find nothing under its key before `commit`."""

    @property
    def held(self) -> int:
        """The number of its bytes that are in memory."""
        ...

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            StoreUnavailable: the disk is full, or the store cannot be reached.
        """
        ...

    def digest(self) -> str:
        """Return the SHA-256 of the bytes written so far, in hexadecimal."""
        ...

    def file(self) -> BinaryIO:
        """Open the bytes written so far as a readable, seekable file; the caller closes it."""
        ...

    def commit(self, content_type: str) -> StoredObject:
        """Publish the object under its key.

        Raises:
            StoreUnavailable: the disk is full, or the store cannot be reached.
        """
        ...

    def abort(self) -> None:
        """Discard the bytes written; without effect after `commit` or another `abort`."""
        ...


class ObjectStore(Protocol):
    """Objects by key. Each process opens its own store; threads may share one.

    Every call may raise StoreUnavailable, and each that takes a key InvalidKey. `remote` is true
    where calls block on the network: asynchronous callers run those in a thread.
    """

    remote: bool

    def prepare(self) -> str | None:
        """Create what the store needs once; return its name, None if nothing was missing."""
        ...

    def check(self) -> None:
        """Raise StoreUnavailable, with a sentence, if objects cannot be stored."""
        ...

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Begin an object whose bytes come in pieces.

        Up to `memory` bytes, or the store's own limit if that is lower, are held in memory.
        """
        ...

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Store a whole object and replace any of that key."""
        ...

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises ObjectNotFound."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object as a readable, seekable file. Raises ObjectNotFound."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Return an object's file, None if the store has no files. Raises ObjectNotFound."""
        ...

    def stat(self, key: str) -> ObjectStat:
        """Return an object's size, type and time. Raises ObjectNotFound."""
        ...

    def delete(self, *keys: str) -> None:
        """Delete the objects of these keys; keys without an object are passed over."""
        ...

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List the objects whose key begins with `prefix`, in no particular order.

        The content type is guessed from the key's ending.
        """
        ...

    def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a URL that anyone may read the object at for `expires_s` seconds.

        One that a remote store presigns lives 7 days at most, and no longer than the credentials
        that it is signed with. With `filename` browsers save it under that name;
        `content_type` replaces the stored one. The object need not exist yet.
        """
        ...

    def upload_url(
        self, key: str, expires_s: int, content_type: str, size: int | None = None
    ) -> UploadTarget:
        """Return a request that stores the object, valid for as long as a URL of `url`.

        The store refuses another content type, and with `size` another number of bytes, as far as
        its signatures can say that; whoever uses the object checks both again.
        """
        ...
