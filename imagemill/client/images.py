"""Images that callers give: a path, bytes, an open file, or a URL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imagemill.images.formats import SNIFF_BYTES, sniff

Image = str | os.PathLike[str] | bytes | BinaryIO
# Bytes above which an image does not travel through the API, but by `POST /v1/uploads`.
UPLOAD_ABOVE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Picture:
    """The bytes of an image, its name, and its media type as far as the client can tell."""

    name: str
    content: bytes
    content_type: str


def is_url(image: Image) -> bool:
    """Return True for a URL, which the workers fetch."""
    return isinstance(image, str) and image.lower().startswith(("http://", "https://"))


def read_image(image: Image) -> Picture:
    """Read an image that is no URL.

    Raises:
        OSError: the file cannot be read.
        TypeError: it is none of the kinds of `Image`.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return _picture("image", bytes(image))
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return _picture(path.name, path.read_bytes())
    if hasattr(image, "read"):
        name = getattr(image, "name", None)
        content = image.read()
        if not isinstance(content, bytes):
            raise TypeError("open the image in binary mode: open(path, 'rb')")
        return _picture(Path(name).name if isinstance(name, str) else "image", content)
    raise TypeError(f"an image is a path, bytes, an open file or a URL, not {type(image).__name__}")


def _picture(name: str, content: bytes) -> Picture:
    known = sniff(content[:SNIFF_BYTES])
    return Picture(name, content, known.content_type if known else "application/octet-stream")
