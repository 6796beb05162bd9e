"""Read binary structures at offsets, with a limit on the number of reads."""

from __future__ import annotations

from typing import BinaryIO

# A 25 MB GIF of full blocks takes 100,000 reads. Hostile files could cause millions, and the check
# runs in the API's event loop.
MAX_READS = 150_000


class Truncated(Exception):
    """The file ends before its own structure does."""


class Malformed(Exception):
    """The structure contradicts the format; the text completes "The file is damaged: ..."."""


class Structure:
    """A file of `size` bytes, read in small pieces, at most MAX_READS of them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self._reads = 0

    def read(self, at: int, count: int) -> bytes:
        """Read exactly `count` bytes from offset `at`.

        Raises:
            Truncated: the file has fewer.
            Malformed: the file needs more than MAX_READS reads.
        """
        self._reads += 1
        if self._reads > MAX_READS:
            raise Malformed("it is made of too many small parts")
        if at + count > self.size:
            raise Truncated
        self.file.seek(at)
        data = self.file.read(count)
        if len(data) < count:
            raise Truncated
        return data
