"""Read size and completeness of an image file from its structure, without decoding a pixel.

Pillow reads the size too, but its WebP and AVIF readers allocate the whole canvas for it, and none
of its readers finds out that a file is incomplete before decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from imagemill.images.probe_tiff import tiff_size
from imagemill.images.structure import Malformed, Structure, Truncated

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN_CHUNK_BYTES = 1 << 16
# Path of boxes to the sizes (ispe) of a HEIC or AVIF file.
_ISO_PATH = (b"meta", b"iprp", b"ipco")


def probe(name: str, file: BinaryIO, size: int) -> tuple[int, int]:
    """Return width and height in pixels, as stored, of a complete file of `size` bytes.

    Raises:
        Truncated: the structure continues past the end of the file.
        Malformed: the structure contradicts the format.
    """
    width, height = _PROBES[name](Structure(file, size))
    if width <= 0 or height <= 0:
        raise Malformed("its header gives a size of zero")
    return width, height


def _jpeg(source: Structure) -> tuple[int, int]:
    found: tuple[int, int] | None = None
    at = 2
    while True:
        marker = source.read(at, 4)
        if marker[0] != 0xFF:
            raise Malformed("a JPEG marker is missing")
        code = marker[1]
        if code == 0xFF:
            at += 1
            continue
        if code in _JPEG_BARE_MARKERS:
            at += 2
            continue
        length = int.from_bytes(marker[2:], "big")
        if code == 0xD9 or length < 2:
            raise Malformed("it ends before the picture begins")
        if code in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack(">HH", source.read(at + 5, 4))
            found = (width, height)
        at += 2 + length
        if code == 0xDA:
            break
    if found is None:
        raise Malformed("its picture begins before its size is given")
    _find_jpeg_end(source, at)
    return found


def _find_jpeg_end(source: Structure, scan: int) -> None:
    if scan < source.size - 2 and source.read(source.size - 2, 2) == b"\xff\xd9":
        return
    # Cameras append films and previews after the end marker. Within a scan, FF D9 is no data: an FF
    # byte is always followed by 00 there.
    source.file.seek(scan)
    last = b""
    while chunk := source.file.read(_SCAN_CHUNK_BYTES):
        if b"\xff\xd9" in last + chunk:
            return
        last = chunk[-1:]
    raise Truncated


def _png(source: Structure) -> tuple[int, int]:
    length, kind, width, height = struct.unpack(">I4sII", source.read(8, 16))
    if kind != b"IHDR" or length != 13:
        raise Malformed("it does not begin with a PNG header")
    if source.size < 57 or source.read(source.size - 12, 12) != _PNG_END:
        _walk_png(source)
    return width, height


def _walk_png(source: Structure) -> None:
    at = 8
    while True:
        length, kind = struct.unpack(">I4s", source.read(at, 8))
        at += 12 + length
        if at > source.size:
            raise Truncated
        if kind == b"IEND":
            return


def _gif(source: Structure) -> tuple[int, int]:
    width, height, flags = struct.unpack("<HHB", source.read(6, 5))
    at = 13 + _gif_palette(flags)
    frames = _gif_frames(source, at)
    left, top, across, down = next(frames, (0, 0, 0, 0))
    if not across:
        raise Malformed("it holds no picture")
    # Every block ends with a zero byte: a file that is cut off seldom ends with both bytes.
    if source.read(source.size - 2, 2) != b"\x00;":
        for _ in frames:
            pass
    return max(width, left + across), max(height, top + down)


def _gif_frames(source: Structure, at: int) -> Iterator[tuple[int, int, int, int]]:
    while (kind := source.read(at, 1)) != b";":
        if kind == b",":
            *box, flags = struct.unpack("<4HB", source.read(at + 1, 9))
            yield tuple(box)
            at += 11 + _gif_palette(flags)
        elif kind == b"!":
            at += 2
        else:
            raise Malformed("a GIF block is missing")
        while length := source.read(at, 1)[0]:
            at += 1 + length
        at += 1


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(source: Structure) -> tuple[int, int]:
    # The smallest lossless files are shorter than a VP8X header.
    head = source.read(0, min(30, max(25, source.size)))
    if int.from_bytes(head[4:8], "little") + 8 > source.size:
        raise Truncated
    chunk = head[12:16]
    if chunk == b"VP8 " and len(head) == 30 and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X" and len(head) == 30:
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    raise Malformed("it does not begin with a WebP picture")


def _bmp(source: Structure) -> tuple[int, int]:
    pixels, header = struct.unpack("<II", source.read(10, 8))
    if header == 12:
        width, height, _, depth = struct.unpack("<4H", source.read(18, 8))
        compression = packed = 0
    elif header >= 40:
        width, height, _, depth, compression, packed = struct.unpack("<iiHHII", source.read(18, 20))
    else:
        raise Malformed("its BMP header has an unknown length")
    height = abs(height)  # negative: stored from the top down
    if compression in (1, 2):
        needed = packed
    elif compression in (0, 3, 6):
        needed = (width * depth + 31) // 32 * 4 * height
    else:
        raise Malformed("its BMP compression is not supported")
    if pixels + needed > source.size:
        raise Truncated
    return width, height


def _iso_media(source: Structure) -> tuple[int, int]:
    sizes = list(_iso_sizes(source, 0, source.size))
    if not sizes:
        raise Malformed("it gives no picture size")
    # Tiles and thumbnails have entries too; the picture is the largest.
    return max(sizes, key=lambda found: found[0] * found[1])


def _iso_sizes(source: Structure, at: int, end: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    while at < end:
        length, kind = struct.unpack(">I4s", source.read(at, 8))
        body = at + 8
        if length == 1:
            length, body = int.from_bytes(source.read(body, 8), "big"), at + 16
        stop = at + length if length else end
        if stop > end:
            raise Truncated
        if stop < body:
            raise Malformed("one of its boxes has an impossible length")
        if depth < len(_ISO_PATH) and kind == _ISO_PATH[depth]:
            body += 4 if kind == b"meta" else 0
            yield from _iso_sizes(source, body, stop, depth + 1)
        elif kind == b"ispe":
            yield struct.unpack(">II", source.read(body + 4, 8))
        at = stop


_PROBES = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "bmp": _bmp,
    "tiff": tiff_size,
    "avif": _iso_media,
    "heic": _iso_media,
}
