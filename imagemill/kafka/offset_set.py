"""A set of offsets of one partition as a bitmap, and its text in the metadata of a commit."""

from __future__ import annotations

import base64
import binascii
import zlib

# Kafka's default limit of a commit's metadata (offset.metadata.max.bytes), characters.
MAX_METADATA_CHARS = 4096
_VERSION = "im1"
# A bitmap of this many bytes has an offset in each of its 128 million bits.
_MAX_BITMAP_BYTES = 16 << 20


class OffsetSet:
    """A set of offsets that lie near each other: one bit for each from the first to the last."""

    def __init__(self) -> None:
        # Offset of the first bit, a multiple of 8.
        self._base = 0
        self._bits = bytearray()

    def __contains__(self, offset: int) -> bool:
        index = offset - self._base
        byte = index >> 3
        return 0 <= byte < len(self._bits) and bool(self._bits[byte] & (1 << (index & 7)))

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def __bool__(self) -> bool:
        return any(self._bits)

    def add(self, offset: int) -> None:
        """Add an offset."""
        if not self._bits:
            self._base = offset & ~7
        elif offset < self._base:
            missing = (self._base - offset + 7) >> 3
            self._bits[:0] = bytes(missing)
            self._base -= missing << 3
        byte = (offset - self._base) >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        self._bits[byte] |= 1 << (offset & 7)

    def forget_below(self, offset: int) -> None:
        """Remove all offsets before `offset`."""
        whole = max(0, min((offset - self._base) >> 3, len(self._bits)))
        del self._bits[:whole]
        self._base += whole << 3
        if self._bits and offset > self._base:
            self._bits[0] &= 0xFF << (offset - self._base)

    def encode(self, limit: int = MAX_METADATA_CHARS) -> str:
        """Write the set as text of `limit` characters at most; empty for an empty set.

        A set that does not fit is cut: its last offsets are left out.
        """
        bits = bytes(self._bits).rstrip(b"\0")
        while bits:
            packed = base64.b64encode(zlib.compress(bits, 6)).decode()
            text = f"{_VERSION}:{self._base}:{packed}"
            if len(text) <= limit:
                return text
            bits = bits[: len(bits) * 3 // 4].rstrip(b"\0")
        return ""

    @classmethod
    def decode(cls, text: str) -> OffsetSet:
        """Read what `encode` wrote; an empty text is an empty set.

        Raises:
            ValueError: it is something else.
        """
        found = cls()
        if not text:
            return found
        version, _, rest = text.partition(":")
        base, _, packed = rest.partition(":")
        if version != _VERSION or not (base.isascii() and base.isdigit()) or int(base) % 8:
            raise ValueError(f"not a set of offsets: {text[:40]!r}")
        try:
            unpacker = zlib.decompressobj()
            bits = unpacker.decompress(base64.b64decode(packed, validate=True), _MAX_BITMAP_BYTES)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"not a set of offsets: {text[:40]!r}: {error}") from error
        if not unpacker.eof:
            raise ValueError(f"not a set of offsets, or too large a one: {text[:40]!r}")
        found._base, found._bits = int(base), bytearray(bits)
        return found
