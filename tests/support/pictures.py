"""Small pictures as bytes, for tests that send files."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def picture(kind: str = "jpeg", width: int = 64, height: int = 48) -> bytes:
    """A whole image file of that format."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A small PNG file whose header claims that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def first_ink_is_red() -> bytes:
    """A whole colour profile of a printer whose first ink is red, its last black, others clear.

    Nobody guesses that red without it.
    """
    white, red, black = (bytes(lab) for lab in ((255, 128, 128), (136, 208, 195), (0, 128, 128)))
    ramp = bytes(range(256))
    # Of the table of all mixtures the first ink is the highest bit.
    mixtures = b"".join(black if n & 1 else red if n & 8 else white for n in range(16))
    one = 0x10000
    matrix = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, one)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + mixtures + ramp * 3
    return _profile(b"prtrCMYKLab ", {b"A2B0": table})


# Red, green and blue of some colour spaces as XYZ under D50, which profiles count in.
PRIMARIES = {
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "Display P3": (
        (0.51512, 0.24120, -0.00105),
        (0.29198, 0.69225, 0.04189),
        (0.15710, 0.06657, 0.78407),
    ),
    "Adobe RGB": (
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
}


def of_gamma(gamma: float, space: bytes, primaries: str = "sRGB") -> bytes:
    """A whole colour profile of colours (`RGB `) or of greys (`GRAY`) with that gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    if space == b"GRAY":
        return _profile(b"mntrGRAYXYZ ", {b"kTRC": curve})
    tags = {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    for name, tristimulus in zip((b"r", b"g", b"b"), PRIMARIES[primaries], strict=True):
        fixed = (round(value * 65536) for value in tristimulus)
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + struct.pack(">3i", *fixed)
    return _profile(b"mntrRGB XYZ ", tags)


def in_srgb(colour: tuple[int, ...], gamma: float, primaries: str) -> tuple[int, ...]:
    """The sRGB numbers of a colour in a space of of_gamma(), worked out without a library."""
    linear = (np.array(colour) / 255) ** gamma
    light = np.linalg.solve(
        np.array(PRIMARIES["sRGB"]).T, np.array(PRIMARIES[primaries]).T @ linear
    ).clip(0, 1)
    shown = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(round(value * 255) for value in shown)


def _profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of that class, colour space and connection space."""
    daylight = struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79,
        b"cprt": b"text\0\0\0\0test\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + daylight,
        **tags,
    }
    at = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        directory += name + struct.pack(">II", at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4xI", at + len(body), 0x02400000) + kind + b"\0" * 12
    header += b"acsp" + b"\0" * 28 + daylight
    return header.ljust(128, b"\0") + directory + body
