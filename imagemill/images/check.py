"""Check an image file before it is queued: its format, completeness, and size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from imagemill.images.formats import (
    FORMATS,
    SNIFF_BYTES,
    ImageFormat,
    basename,
    by_extension,
    describe_foreign,
    extension_of,
    readable,
    sniff,
)
from imagemill.images.probe import probe
from imagemill.images.structure import Malformed, Truncated
from imagemill.settings.shared import LimitSettings
from schemas.errors import ErrorCode

# Most letters of a file name in a message.
_MAX_SHOWN_NAME = 80


@dataclass(frozen=True)
class ImageLimits:
    """Limits of an image file in bytes, and of its picture in pixels; the settings by default."""

    max_bytes: int = LimitSettings.model_fields["max_image_bytes"].default
    max_pixels: int = LimitSettings.model_fields["max_image_pixels"].default


@dataclass(frozen=True)
class ImageFacts:
    """Facts in the header; `width` and `height` are pixels as stored, before EXIF orientation."""

    format: str
    width: int
    height: int
    content_type: str
    bytes: int


class ImageRejected(Exception):
    """The file is refused; the message is a sentence for its sender."""

    def __init__(self, code: ErrorCode, http_status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status
        self.message = message


def check_image(
    file: BinaryIO, filename: str | None = None, limits: ImageLimits = ImageLimits()
) -> ImageFacts:
    """Read the facts of an image file, in under 1 ms and without decoding a pixel.

    `file` is seekable and left at an arbitrary position. `filename` is checked if it is given.

    Raises:
        ImageRejected: empty, too large, not an image, of a format this installation cannot read,
            cut off, damaged, or named as something else.
    """
    named = _shown(filename)
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise _undecodable(422, f"{named} is empty; send the image's bytes.")
    if size > limits.max_bytes:
        raise ImageRejected(
            ErrorCode.IMAGE_TOO_LARGE,
            413,
            f"{named} has {_megabytes(size)}; the limit is {_megabytes(limits.max_bytes)}. "
            "Send a smaller or more strongly compressed image.",
        )
    known = _recognise(file, named)
    width, height = _measure(file, known, size, named)
    check_pixels(width, height, limits.max_pixels, named)
    if filename:
        _check_name(filename, known, named)
    return ImageFacts(known.name, width, height, known.content_type, size)


def check_pixels(width: int, height: int, max_pixels: int, named: str = "The image") -> None:
    """Check a picture's size in pixels.

    Raises:
        ImageRejected: it is over the limit.
    """
    if width * height > max_pixels:
        raise ImageRejected(
            ErrorCode.IMAGE_TOO_LARGE,
            413,
            f"{named} is {width} x {height} pixels, {_megapixels(width * height)}; the limit is "
            f"{_megapixels(max_pixels)}. Scale it down before sending it.",
        )


def _recognise(file: BinaryIO, named: str) -> ImageFormat:
    file.seek(0)
    head = file.read(SNIFF_BYTES)
    known = sniff(head)
    if known is None:
        foreign = describe_foreign(head)
        what = f"is {foreign}" if foreign else "is not an image"
        raise _undecodable(415, f"{named} {what}; send one of {_readable_titles()}.")
    if not readable(known):
        raise _undecodable(
            415,
            f"{named} is {_article(known)} image, which this server cannot read; "
            f"convert it to one of {_readable_titles()}.",
        )
    return known


def _measure(file: BinaryIO, known: ImageFormat, size: int, named: str) -> tuple[int, int]:
    try:
        return probe(known.name, file, size)
    except Truncated:
        raise _undecodable(
            422,
            f"{named} is cut off: the {known.title} data ends before the picture is complete; "
            "send the whole file again.",
        ) from None
    except Malformed as damage:
        raise _undecodable(
            422, f"{named} is a damaged {known.title} file: {damage}; export it again and resend."
        ) from None


def _check_name(filename: str, known: ImageFormat, named: str) -> None:
    extension = extension_of(filename)
    if not extension or extension in known.extensions:
        return
    stem = basename(filename)[: -len(extension) - 1]
    advice = f"rename it to {_clip(f'{stem}.{known.extension}')}."
    if by_extension(filename) is None:
        raise _undecodable(
            415,
            f"{named} has an extension that is not an image's, but holds {_article(known)} image; "
            + advice,
        )
    raise _undecodable(
        422,
        f"The file is named {_clip(basename(filename))} but holds {_article(known)} image; "
        + advice,
    )


def _undecodable(http_status: int, message: str) -> ImageRejected:
    return ImageRejected(ErrorCode.IMAGE_UNDECODABLE, http_status, message)


def _article(known: ImageFormat) -> str:
    return f"an {known.title}" if known.title[0] in "AEIO" else f"a {known.title}"


def _readable_titles() -> str:
    titles = [known.title for known in FORMATS.values() if readable(known)]
    return ", ".join(titles[:-1]) + " or " + titles[-1]


def _clip(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return (
        printable if len(printable) <= _MAX_SHOWN_NAME else printable[: _MAX_SHOWN_NAME - 3] + "..."
    )


def _shown(filename: str | None) -> str:
    name = _clip(basename(filename)) if filename else ""
    return f"The file {name}" if name else "The file"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"


def _megapixels(count: int) -> str:
    return f"{count / 1e6:.1f} megapixels" if count >= 100_000 else f"{count} pixels"
