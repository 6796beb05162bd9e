"""A PNG writer and reader after the specification alone, for comparison with Pillow's.

The reader gives samples as they are stored, so that transparency by key is judged at full depth.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Pixel = tuple[int, ...]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
# Adam7: first column, first row, column step and row step of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


@dataclass
class Png:
    """Samples of a picture as they are stored, row by row, and the chunks that give them colour."""

    colour_type: int
    depth: int
    rows: list[list[Pixel]]
    palette: list[Pixel] = field(default_factory=list)
    transparency: bytes | None = None
    interlaced: bool = False
    chunks: dict[bytes, bytes] = field(default_factory=dict)

    def rgba(self) -> list[list[Pixel]]:
        """The rows in 8-bit RGBA; samples of 16 bits lose their low byte."""
        return [[self._shown(pixel) for pixel in row] for row in self.rows]

    def _shown(self, pixel: Pixel) -> Pixel:
        key = self.transparency
        if self.colour_type == PALETTE:
            [index] = pixel
            alpha = key[index] if key is not None and index < len(key) else 255
            return (*self.palette[index], alpha)
        levels = [self._eight_bits(sample) for sample in pixel]
        if self.colour_type in (GREY_ALPHA, RGBA):
            alpha = levels.pop()
        else:
            keys = struct.unpack(f">{len(pixel)}H", key) if key is not None else None
            mask = (1 << self.depth) - 1
            alpha = (
                0 if keys and all(k & mask == s for k, s in zip(keys, pixel, strict=True)) else 255
            )
        return (*(levels * 3 if len(levels) == 1 else levels), alpha)

    def _eight_bits(self, sample: int) -> int:
        if self.depth == 16:
            return sample >> 8
        return sample * 255 // ((1 << self.depth) - 1)


def write(png: Png) -> bytes:
    """The picture as a file, each row with another filter type."""
    height, width = len(png.rows), len(png.rows[0])
    header = struct.pack(
        ">IIBBBBB", width, height, png.depth, png.colour_type, 0, 0, int(png.interlaced)
    )
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    parts += [_chunk(kind, data) for kind, data in png.chunks.items()]
    if png.palette:
        parts.append(_chunk(b"PLTE", bytes(level for entry in png.palette for level in entry)))
    if png.transparency is not None:
        parts.append(_chunk(b"tRNS", png.transparency))
    passes = _PASSES if png.interlaced else ((0, 0, 1, 1),)
    data = b"".join(
        _filtered_rows([row[left::across] for row in png.rows[top::down]], png)
        for left, top, across, down in passes
        if left < width and top < height
    )
    return b"".join([*parts, _chunk(b"IDAT", zlib.compress(data)), _chunk(b"IEND", b"")])


def read(data: bytes) -> Png:
    """The picture in a file of one of the kinds that write() makes, or that Pillow does."""
    chunks: dict[bytes, bytes] = {}
    for kind, body in _chunks(data):
        chunks[kind] = chunks.get(kind, b"") + body
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    png = Png(
        colour_type,
        depth,
        [[()] * width for _ in range(height)],
        interlaced=bool(interlaced),
        transparency=chunks.get(b"tRNS"),
    )
    flat = chunks.get(b"PLTE", b"")
    png.palette = [tuple(flat[at : at + 3]) for at in range(0, len(flat), 3)]
    raw = zlib.decompress(chunks[b"IDAT"])
    at = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, lines = range(left, width, across), range(top, height, down)
        if not columns or not lines:
            continue
        length = (len(columns) * CHANNELS[colour_type] * depth + 7) // 8
        above = bytes(length)
        for y in lines:
            above = _unfiltered(raw[at], raw[at + 1 : at + 1 + length], above, _step(png))
            at += 1 + length
            for x, pixel in zip(columns, _pixels(above, png), strict=False):
                png.rows[y][x] = pixel
    return png


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _step(png: Png) -> int:
    """Bytes from a sample to the one on its left that filters look at."""
    return max(1, CHANNELS[png.colour_type] * png.depth // 8)


def _packed(row: Sequence[Pixel], depth: int) -> bytes:
    bits = "".join(f"{sample:0{depth}b}" for pixel in row for sample in pixel)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def _pixels(line: bytes, png: Png) -> Iterator[Pixel]:
    bits = "".join(f"{byte:08b}" for byte in line)
    samples = [
        int(bits[at : at + png.depth], 2) for at in range(0, len(bits) - png.depth + 1, png.depth)
    ]
    channels = CHANNELS[png.colour_type]
    for at in range(0, len(samples) - channels + 1, channels):
        yield tuple(samples[at : at + channels])


def _filtered_rows(rows: list[list[Pixel]], png: Png) -> bytes:
    filtered = b""
    above = b""
    for number, row in enumerate(rows):
        line = _packed(row, png.depth)
        above = above or bytes(len(line))
        kind = number % 5
        predicted = _predictions(kind, line, above, _step(png))
        filtered += bytes([kind]) + bytes(
            (byte - guess) % 256 for byte, guess in zip(line, predicted, strict=True)
        )
        above = line
    return filtered


def _predictions(kind: int, line: bytes, above: bytes, step: int) -> list[int]:
    return [_predicted(kind, line, above, at, step) for at in range(len(line))]


def _unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    done = bytearray()
    for at, byte in enumerate(line):
        done.append((byte + _predicted(kind, done, above, at, step)) % 256)
    return bytes(done)


def _predicted(kind: int, line: bytes | bytearray, above: bytes, at: int, step: int) -> int:
    left = line[at - step] if at >= step else 0
    up = above[at]
    corner = above[at - step] if at >= step else 0
    match kind:
        case 1:
            return left
        case 2:
            return up
        case 3:
            return (left + up) // 2
        case 4:
            distances = [
                (abs(left + up - corner - value), order)
                for order, value in enumerate((left, up, corner))
            ]
            return (left, up, corner)[min(distances)[1]]
        case _:
            return 0
