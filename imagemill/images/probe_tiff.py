"""Read size and completeness of a TIFF or BigTIFF file from its first directory."""

from __future__ import annotations

import struct

from imagemill.images.structure import Malformed, Structure, Truncated

_WIDTH, _HEIGHT = 256, 257
# Offsets and byte counts of the strips or of the tiles that hold the pixels.
_DATA_TAGS = ((273, 279), (324, 325))
_WANTED = {_WIDTH, _HEIGHT} | {tag for pair in _DATA_TAGS for tag in pair}
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
# Bytes of one value, by the type number of the TIFF specification.
_VALUE_BYTES = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)))
_MAX_ENTRIES = 4096
# Most strips or tiles: 50 megapixels in tiles of 16 x 16, the smallest usual ones, are 195,000.
_MAX_VALUES = 1 << 18


def tiff_size(source: Structure) -> tuple[int, int]:
    """Return width and height in pixels of the first picture of the file.

    Raises:
        Truncated: a directory or pixel data lies past the end of the file.
        Malformed: the directory lacks the size or is impossibly long.
    """
    head = source.read(0, 8)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    if big:
        (at,) = struct.unpack(order + "Q", source.read(8, 8))
    else:
        (at,) = struct.unpack(order + "I", head[4:8])
    tags = _read_directory(source, at, order, big)
    try:
        width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    except (KeyError, IndexError):
        raise Malformed("its first directory gives no picture size") from None
    for offsets, counts in _DATA_TAGS:
        for start, length in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
            if start + length > source.size:
                raise Truncated
    return width, height


def _read_directory(
    source: Structure, at: int, order: str, big: bool
) -> dict[int, tuple[int, ...]]:
    count_code, entry_code, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    count_bytes = struct.calcsize(order + count_code)
    (entries,) = struct.unpack(order + count_code, source.read(at, count_bytes))
    if entries > _MAX_ENTRIES:
        raise Malformed("its first directory is impossibly long")
    length = struct.calcsize(order + entry_code)
    # The pointer to the next directory is part of the table.
    table = source.read(at + count_bytes, entries * length + inline)
    tags = {}
    for tag, kind, count, value in struct.iter_unpack(order + entry_code, table[:-inline]):
        stored = count * _VALUE_BYTES.get(kind, 0)
        where = 0
        if stored > inline:
            (where,) = struct.unpack(order + ("Q" if big else "I"), value)
            if where + stored > source.size:
                raise Truncated
        if tag not in _WANTED or kind not in _INTEGERS:
            continue
        if count > _MAX_VALUES:
            raise Malformed("its picture is cut into too many strips")
        data = source.read(where, stored) if where else value[:stored]
        tags[tag] = struct.unpack(f"{order}{count}{_INTEGERS[kind]}", data)
    return tags
