"""Decode an image file into an upright picture in one of four modes."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from imagemill.images.check import (
    ImageFacts,
    ImageLimits,
    ImageRejected,
    check_image,
    check_pixels,
)
from imagemill.images.formats import FORMATS
from imagemill.operations import OperationError, SourceInfo
from processor.imaging import png_colours, profiles, tiff_samples
from processor.imaging.modes import PngKey, clear_outside, plain
from schemas.errors import ErrorCode

try:
    from pillow_heif import register_heif_opener
except ImportError:  # optional: HEIC is refused by name then
    register_heif_opener = None

log = logging.getLogger(__name__)

# Our own limit is checked before a pixel is decoded; Pillow's would contradict a higher one.
Image.MAX_IMAGE_PIXELS = None
if register_heif_opener is not None:
    register_heif_opener()

_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = range(1, 9)
_SIDEWAYS = frozenset({5, 6, 7, 8})
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's decoders raise any of these for damaged data.
_DECODING_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error)
# Pillow raises any of these for damaged EXIF data.
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error)

WantedSize = Callable[[tuple[int, int]], tuple[int, int] | None]
"""Returns the smallest size that will do for an upright picture of a size; None: its own."""


def decode(
    file: BinaryIO, filename: str | None, limits: ImageLimits, wanted: WantedSize | None = None
) -> tuple[Image.Image, SourceInfo]:
    """Return the first frame of an image file as an upright picture in mode L, LA, RGB or RGBA.

    Limits are checked from the header, before a pixel is decoded. JPEGs are decoded at a fraction
    of their size where `wanted` allows it. The source's `icc_profile` is the one that the picture's
    numbers need: None where they are sRGB's.

    Raises:
        OperationError: not a whole image, or over a limit.
    """
    try:
        facts = check_image(file, None, limits)
        file.seek(0)
        image = _open(file, facts.format, filename)
        check_pixels(*image.size, limits.max_pixels)
    except ImageRejected as error:
        raise OperationError(error.code, error.message) from error
    try:
        picture, source = _decoded(image, file, facts, wanted)
    except _DECODING_ERRORS as error:
        raise _undecodable(filename, error) from error
    return picture, replace(source, filename=filename)


def _decoded(
    image: Image.Image, file: BinaryIO, facts: ImageFacts, wanted: WantedSize | None
) -> tuple[Image.Image, SourceInfo]:
    to_plain = _converter(image, file, facts.format)
    if facts.format != "jpeg":
        # Reading a PNG's EXIF data would load it too, and hide that its pixels are damaged.
        image.load()
    orientation, exif = _exif_of(image)
    sideways = orientation in _SIDEWAYS
    size = image.size[::-1] if sideways else image.size
    target = wanted(size) if wanted and facts.format == "jpeg" else None
    shrunk = 1 if target is None else _draft(image, target[::-1] if sideways else target)
    image.load()
    picture = to_plain(image)
    if orientation in _TO_UPRIGHT:
        picture = picture.transpose(_TO_UPRIGHT[orientation])
    return picture, SourceInfo(
        format=facts.format,
        size=size,
        bytes=facts.bytes,
        icc_profile=_profile_of(image, picture, facts.format),
        exif=exif,
        shrunk=shrunk,
    )


def _converter(image: Image.Image, file: BinaryIO, name: str) -> Callable[..., Image.Image]:
    """Return the function that makes a plain picture of `image` once it is loaded."""
    match name:
        case "png":
            return PngKey(image, file).plain
        case "gif" if image.tile:
            frame = image.tile[0].extents
            return lambda loaded: clear_outside(plain(loaded), frame)
        case "tiff":
            tiff_samples.prepare(image)
            return lambda loaded: plain(tiff_samples.corrected(loaded))
        case _:
            return plain


def _profile_of(image: Image.Image, picture: Image.Image, name: str) -> bytes | None:
    """Return the profile that the numbers of `picture` need, or None if they are sRGB's."""
    profile = image.info.get("icc_profile")
    if name == "png" and not profile:
        profile = png_colours.profile_of(image.info, grey=picture.mode in ("L", "LA"))
    return profile if profiles.space_of(profile) in (profiles.RGB, profiles.GREY) else None


def _draft(image: Image.Image, target: tuple[int, int]) -> int:
    """Ask libjpeg for a 1/2, 1/4 or 1/8 decode not below `target`; return the divisor."""
    width = image.width
    drafted = image.draft(None, target)
    return round(width / drafted[1][2]) if drafted else 1


def _open(file: BinaryIO, name: str, filename: str | None) -> Image.Image:
    try:
        return Image.open(file, formats=[FORMATS[name].pillow])
    except UnidentifiedImageError as error:
        # Its text is the address of the file object.
        reason = f"{FORMATS[name].title} of this kind is not supported"
        raise _undecodable(filename, reason) from error
    except _DECODING_ERRORS as error:
        raise _undecodable(filename, error) from error


def _undecodable(filename: str | None, reason: object) -> OperationError:
    named = filename or "The image"
    return OperationError(ErrorCode.IMAGE_UNDECODABLE, f"{named} cannot be decoded: {reason}")


def _exif_of(image: Image.Image) -> tuple[int, bytes | None]:
    """Return the orientation, 1 to 8, and the EXIF data without it; damaged data counts as none."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION_TAG, 1)
        kept = None
        if image.info.get("exif"):
            rest = Image.Exif()
            rest.load(image.info["exif"])
            rest.pop(_ORIENTATION_TAG, None)
            kept = rest.tobytes()
    except _EXIF_ERRORS as error:
        log.info("the EXIF data of an image is left out: %r", error)
        return 1, None
    return (orientation if orientation in _ORIENTATIONS else 1), kept
