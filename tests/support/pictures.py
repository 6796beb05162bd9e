"""Small pictures as bytes, for tests that send files."""

from __future__ import annotations

import io
import struct
import zlib

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


def of_gamma(gamma: float, space: bytes) -> bytes:
    """A whole colour profile of sRGB's colours (`RGB `) or of greys (`GRAY`) with that gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    if space == b"GRAY":
        return _profile(b"mntrGRAYXYZ ", {b"kTRC": curve})
    primaries = {
        b"r": (28570, 14582, 912),
        b"g": (25239, 46985, 6363),
        b"b": (9371, 3969, 46786),
    }
    tags = {name + b"TRC": curve for name in primaries}
    for name, tristimulus in primaries.items():
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + struct.pack(">3i", *tristimulus)
    return _profile(b"mntrRGB XYZ ", tags)


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
