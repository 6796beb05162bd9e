"""Images that callers give: a path, bytes, an open file, or a URL."""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

Image = str | os.PathLike[str] | bytes | BinaryIO
# Bytes above which an image does not travel through the API, but by `POST /v1/uploads`.
UPLOAD_ABOVE_BYTES = 8 * 1024 * 1024
# mimetypes reads files of the system, which lack the newer formats on some.
_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)


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
    suffix = Path(name).suffix.lower()
    known = _TYPES.get(suffix) or mimetypes.guess_type(name)[0]
    return Picture(name, content, _by_content(content) or known or "application/octet-stream")


def _by_content(content: bytes) -> str | None:
    for signature, content_type in _SIGNATURES:
        if content.startswith(signature):
            return content_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return None
