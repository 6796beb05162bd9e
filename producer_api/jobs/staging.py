"""Files of one request on their way into the store: none stays unless the job is queued."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from imagemill.images.check import ImageFacts, ImageLimits, ImageRejected, check_image
from imagemill.storage import ObjectWriter, StoredObject
from imagemill.storage.asynchronous import AsyncStore
from schemas.errors import ErrorCode

# Characters kept of a file name, from its end, where the extension is.
_MAX_NAME_CHARACTERS = 255


def clean_filename(name: str | None) -> str | None:
    """Return the last part of a file name, printable and clipped; None when none is left."""
    if not name:
        return None
    base = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter for letter in base if letter.isprintable()).strip()
    return printable[-_MAX_NAME_CHARACTERS:] or None


@dataclass
class StagedImage:
    """An image received whole and checked, not yet visible in the store."""

    index: int
    filename: str | None
    facts: ImageFacts
    writer: ObjectWriter


class Staging:
    """The files of one request. Leaving the context removes all of them unless kept."""

    def __init__(
        self, store: AsyncStore, prefix: str, limits: ImageLimits, memory: int | None = None
    ) -> None:
        """Begin the files' keys with `prefix`; those after the first `memory` bytes wait on disk.

        Without `memory` the store decides for each file.
        """
        self.images: list[StagedImage] = []
        self.limits = limits
        self._store = store
        self._prefix = prefix
        self._memory = memory
        self._writers: list[ObjectWriter] = []
        self._stored: list[str] = []
        self._kept = False

    def begin(self, index: int, filename: str | None) -> StagedFile:
        """Begin to receive the image of that index. Raises StoreUnavailable."""
        writer = self._store.writer(f"{self._prefix}{index}", self._memory)
        self._writers.append(writer)
        return StagedFile(self, index, clean_filename(filename), writer)

    def add(self, image: StagedImage) -> None:
        """Take an image that arrived whole and was checked."""
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
            stored = await self._store.commit(image.writer, image.facts.content_type)
            self._stored.append(stored.key)
            objects.append(stored)
        return objects

    def keep(self) -> None:
        """Let the files stay: a job names them."""
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
            await self._store.delete(*self._stored)


class StagedFile:
    """One image while its bytes arrive; `bytes` counts them."""

    def __init__(
        self, staging: Staging, index: int, filename: str | None, writer: ObjectWriter
    ) -> None:
        self.bytes = 0
        self._staging = staging
        self._index = index
        self._filename = filename
        self._writer = writer

    def write(self, chunk: bytes) -> None:
        """Take some bytes. Raises ImageRejected (413) as soon as they are too many."""
        self.bytes += len(chunk)
        limit = self._staging.limits.max_bytes
        if self.bytes > limit:
            named = f"The file {self._filename}" if self._filename else "The file"
            raise ImageRejected(
                ErrorCode.IMAGE_TOO_LARGE,
                413,
                f"{named} is over the limit of {limit / 1e6:.1f} MB an image. "
                "Send a smaller or more strongly compressed image.",
            )
        self._writer.write(chunk)

    def end(self) -> None:
        """Check the image, now whole, and add it to the staging. Raises ImageRejected."""
        with self._writer.file() as file:
            facts = check_image(file, self._filename, self._staging.limits)
        self._staging.add(StagedImage(self._index, self._filename, facts, self._writer))
