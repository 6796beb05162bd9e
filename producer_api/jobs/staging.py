"""Files of one request on their way into the store: none stays unless the job is queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from imagemill.images.check import ImageFacts, ImageLimits, ImageRejected, check_image
from imagemill.storage import ObjectStore, ObjectWriter, StoredObject
from schemas.errors import ErrorCode

Result = TypeVar("Result")
# Fields named in problems are shown to people; a name of a megabyte helps nobody.
_NAME_LENGTH = 255


async def in_store(store: ObjectStore, call: Callable[..., Result], *args: object) -> Result:
    """Call the store: in a thread when it blocks on the network, else at once."""
    if store.remote:
        return await asyncio.to_thread(call, *args)
    return call(*args)


def clean_filename(name: str | None) -> str | None:
    """The last part of a file name, printable and of sensible length; None when none is left."""
    if not name:
        return None
    base = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter for letter in base if letter.isprintable()).strip()
    return printable[-_NAME_LENGTH:] or None


@dataclass
class StagedImage:
    """An image received whole and checked, not yet visible in the store."""

    index: int
    filename: str | None
    facts: ImageFacts
    writer: ObjectWriter


class _Incoming:
    """One image while its bytes arrive."""

    def __init__(
        self,
        index: int,
        filename: str | None,
        writer: ObjectWriter,
        limits: ImageLimits,
    ) -> None:
        self.bytes = 0
        self._index = index
        self._filename = filename
        self._writer = writer
        self._limits = limits

    def write(self, chunk: bytes) -> None:
        """Takes bytes. Raises ImageRejected (413) as soon as they are too many."""
        self.bytes += len(chunk)
        if self.bytes > self._limits.max_bytes:
            named = f"The file {self._filename}" if self._filename else "The file"
            raise ImageRejected(
                ErrorCode.IMAGE_TOO_LARGE,
                413,
                f"{named} is over the limit of {self._limits.max_bytes / 1e6:.1f} MB an image. "
                "Send a smaller or more strongly compressed image.",
            )
        self._writer.write(chunk)

    def end(self) -> StagedImage:
        """The image, checked. Raises ImageRejected."""
        with self._writer.file() as file:
            facts = check_image(file, self._filename, self._limits)
        return StagedImage(self._index, self._filename, facts, self._writer)


class Staging:
    """The files of one request. Leaving the context removes all of them unless kept."""

    def __init__(
        self, store: ObjectStore, prefix: str, limits: ImageLimits, memory: int | None = None
    ) -> None:
        """`prefix` begins the keys; images that would take more than `memory` bytes all together
        go to disk while they arrive."""
        self.images: list[StagedImage] = []
        self._store = store
        self._prefix = prefix
        self._limits = limits
        self._memory = memory
        self._writers: list[ObjectWriter] = []
        self._stored: list[str] = []
        self._kept = False

    def begin(self, index: int, filename: str | None) -> _Incoming:
        """Start receiving the image of that index. Raises StoreUnavailable."""
        writer = self._store.writer(f"{self._prefix}{index}", self._memory)
        self._writers.append(writer)
        return _Incoming(index, clean_filename(filename), writer, self._limits)

    def end(self, incoming: _Incoming) -> None:
        """Check an image that arrived whole. Raises ImageRejected."""
        image = incoming.end()
        self.images.append(image)
        if self._memory is not None:
            self._memory -= image.writer.held

    async def commit(self) -> list[StoredObject]:
        """Make all images visible in the store, in the order of `images`.

        Raises:
            StoreUnavailable: at least one could not be stored.
        """
        objects = []
        for image in self.images:
            stored = await in_store(self._store, image.writer.commit, image.facts.content_type)
            self._stored.append(stored.key)
            objects.append(stored)
        return objects

    def keep(self) -> None:
        """The job is queued: its files stay."""
        self._kept = True

    async def __aenter__(self) -> Staging:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers:
            writer.abort()
        if self._stored and not self._kept:
            await in_store(self._store, self._store.delete, *self._stored)
