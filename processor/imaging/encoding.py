"""Encode a picture into a file: its format, transparency, colours and metadata."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image

from imagemill.images.formats import FORMATS
from imagemill.operations import EncodeOptions, OperationError, SourceInfo
from processor.imaging import profiles
from processor.imaging.modes import plain
from schemas.errors import ErrorCode

_DEFAULT_QUALITY = 90
_WITH_ALPHA = frozenset({"RGBA", "LA"})
# Formats that a result without alpha keeps from its source; the others become PNG.
_KEPT = frozenset({"jpeg", "png", "webp"})
_CARRY_COLOUR_PROFILE = frozenset({"jpeg", "png", "webp", "avif", "tiff"})
# WebP and AVIF files hold greys as colours, which a profile of greys does not describe.
_CARRY_GREY_PROFILE = frozenset({"jpeg", "png", "tiff"})
_WITHOUT_ALPHA = frozenset({"jpeg", "bmp"})
_MAX_JPEG_EXIF_BYTES = 65_000
# GIF has one clear colour and no others that shine through: alpha from here on counts as opaque.
_LEAST_GIF_ALPHA = 128
_GIF_COLOURS = 255
# Pillow's encoders raise any of these for a picture that their format cannot hold.
_ENCODING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, OverflowError, struct.error)


def choose_format(image: Image.Image, options: EncodeOptions, source: SourceInfo) -> str:
    """Return the format asked for; else PNG for pictures with alpha, else the source's if kept."""
    if options.format is not None:
        return options.format
    if image.mode in _WITH_ALPHA:
        return "png"
    return source.format if source.format in _KEPT else "png"


def encode(image: Image.Image, options: EncodeOptions, source: SourceInfo) -> tuple[bytes, str]:
    """Return the picture's file and the name of its format.

    Colour profile and EXIF are the source's, without the orientation, which has been applied;
    `strip_metadata` leaves both out. A picture that cannot or may not have its profile, because of
    the format or because greys have become colours, is converted to sRGB, which needs none.

    Raises:
        OperationError: the picture cannot be written in that format (params_invalid).
    """
    try:
        # An operation of a plugin may return any mode; written as it is, some lose transparency.
        image = plain(image)
        name = choose_format(image, options, source)
        image, arguments = _with_metadata(image, name, options, source)
        arguments |= _encoder_arguments(name, options)
        if name in _WITHOUT_ALPHA:
            image = _on_white(image)
        elif name == "gif" and image.mode in _WITH_ALPHA:
            image = _with_clear_colour(image)
            arguments["transparency"] = _GIF_COLOURS
        # Pillow would also write the metadata that it has kept of the source file.
        image.info = {}
        buffer = io.BytesIO()
        image.save(buffer, FORMATS[name].pillow, **arguments)
    except _ENCODING_ERRORS as error:
        raise OperationError(
            ErrorCode.PARAMS_INVALID, f"The result cannot be written as {name}: {error}"
        ) from error
    return buffer.getvalue(), name


def _encoder_arguments(name: str, options: EncodeOptions) -> dict[str, Any]:
    match name:
        case "png":
            return {"compress_level": options.png_level}
        case "jpeg":
            return {"quality": options.quality or _DEFAULT_QUALITY, "optimize": False}
        case "webp":
            return {"quality": options.quality or _DEFAULT_QUALITY, "method": 2}
        case "avif" if options.quality:
            return {"quality": options.quality}
        case _:
            return {}


def _with_metadata(
    image: Image.Image, name: str, options: EncodeOptions, source: SourceInfo
) -> tuple[Image.Image, dict[str, Any]]:
    """Return the picture, in sRGB if its profile is not written, and the metadata to write."""
    metadata: dict[str, Any] = {}
    exif = None if options.strip_metadata else source.exif
    if exif and (name != "jpeg" or len(exif) <= _MAX_JPEG_EXIF_BYTES):
        metadata["exif"] = exif
    if options.is_mask or not source.icc_profile:
        return image, metadata
    if not options.strip_metadata and _carries(name, image, source.icc_profile):
        metadata["icc_profile"] = source.icc_profile
        return image, metadata
    return profiles.in_srgb(image, source.icc_profile), metadata


def _carries(name: str, image: Image.Image, profile: bytes) -> bool:
    """Return True if a file of that format can have that profile and it describes the picture."""
    if image.mode.startswith("RGB"):
        return name in _CARRY_COLOUR_PROFILE and profiles.space_of(profile) == profiles.RGB
    return name in _CARRY_GREY_PROFILE and profiles.space_of(profile) == profiles.GREY


def _on_white(image: Image.Image) -> Image.Image:
    """Return the picture on white, for formats without alpha."""
    if image.mode not in _WITH_ALPHA:
        return image
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return opaque if image.mode == "RGBA" else opaque.convert("L")


def _with_clear_colour(image: Image.Image) -> Image.Image:
    """Return the picture in a palette whose last entry stands for its clear pixels."""
    alpha = image.getchannel("A")
    clear = alpha.point([255 * (value < _LEAST_GIF_ALPHA) for value in range(256)])
    colours = image.convert("RGB")
    # Hidden colours would take entries of the palette.
    colours.paste(_mean_colour(colours, clear), mask=clear)
    reduced = colours.quantize(_GIF_COLOURS)
    reduced.paste(_GIF_COLOURS, mask=clear)
    return reduced


def _mean_colour(colours: Image.Image, clear: Image.Image) -> tuple[int, int, int]:
    """Return the mean colour of what is visible; black where nothing is."""
    visible = clear.point([255 - value for value in range(256)])
    if not visible.getbbox():
        return (0, 0, 0)
    histogram = colours.histogram(visible)
    count = sum(histogram[:256])
    sums = (
        sum(value * pixels for value, pixels in enumerate(histogram[band : band + 256]))
        for band in (0, 256, 512)
    )
    red, green, blue = (round(total / count) for total in sums)
    return red, green, blue
