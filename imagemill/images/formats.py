"""The image formats that are taken: names, media types, extensions and first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

# Bytes that distinguish all formats below, ISO media brands included.
SNIFF_BYTES = 64

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


@dataclass(frozen=True)
class ImageFormat:
    """One format: `name` in params and results, `title` in sentences, first extension preferred."""

    name: str
    title: str
    content_type: str
    extensions: tuple[str, ...]
    pillow: str

    @property
    def extension(self) -> str:
        """The preferred file name extension, without the dot."""
        return self.extensions[0]


FORMATS: dict[str, ImageFormat] = {
    known.name: known
    for known in (
        ImageFormat("jpeg", "JPEG", "image/jpeg", ("jpg", "jpeg", "jpe", "jfif"), "JPEG"),
        ImageFormat("png", "PNG", "image/png", ("png", "apng"), "PNG"),
        ImageFormat("webp", "WebP", "image/webp", ("webp",), "WEBP"),
        ImageFormat("gif", "GIF", "image/gif", ("gif",), "GIF"),
        ImageFormat("tiff", "TIFF", "image/tiff", ("tiff", "tif"), "TIFF"),
        ImageFormat("bmp", "BMP", "image/bmp", ("bmp", "dib"), "BMP"),
        ImageFormat("avif", "AVIF", "image/avif", ("avif",), "AVIF"),
        ImageFormat("heic", "HEIC", "image/heic", ("heic", "heif", "hif"), "HEIF"),
    )
}

_BY_EXTENSION = {extension: known for known in FORMATS.values() for extension in known.extensions}

_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"<svg", "an SVG drawing"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE html", "a web page"),
    (b"<html", "a web page"),
)


def sniff(head: bytes) -> ImageFormat | None:
    """Return the format of a file that begins with `head` (SNIFF_BYTES long), or None."""
    if head.startswith(b"\xff\xd8\xff"):
        name = "jpeg"
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        name = "png"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        name = "webp"
    elif head.startswith((b"GIF87a", b"GIF89a")):
        name = "gif"
    elif head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        name = "tiff"
    elif head.startswith(b"BM"):
        name = "bmp"
    else:
        name = _sniff_iso_media(head)
    return FORMATS.get(name)


def _sniff_iso_media(head: bytes) -> str:
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[at : at + 4] for at in range(8, end - 3, 4)}
    # An AVIF file also lists the general brand mif1.
    if brands & _AVIF_BRANDS:
        return "avif"
    return "heic" if head[8:12] in _HEIC_BRANDS else ""


def describe_foreign(head: bytes) -> str | None:
    """Name the kind of a file in none of the formats, with its article, or return None."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, what in _FOREIGN:
        if head.startswith(magic) or text.lower().startswith(magic.lower()):
            return what
    return None


def by_extension(filename: str) -> ImageFormat | None:
    """Return the format that the extension of `filename` belongs to, or None."""
    return _BY_EXTENSION.get(extension_of(filename))


def extension_of(filename: str) -> str:
    """Return the extension in lower case, without the dot; empty if there is none."""
    stem, dot, extension = basename(filename).rpartition(".")
    return extension.lower() if dot and stem else ""


def basename(filename: str) -> str:
    """Return the name without folders, which Windows browsers separate with backslashes."""
    return filename.replace("\\", "/").rpartition("/")[2]


@cache
def readable(known: ImageFormat) -> bool:
    """Return True if this installation can decode the format."""
    if known.name == "heic":
        return find_spec("pillow_heif") is not None
    if known.name == "avif":
        from PIL import features  # imported here: the API needs Pillow for nothing else

        return bool(features.check("avif"))
    return True
