"""From an image file to an upright picture, and from a picture to a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, ImageOps

from imagemill.imagecheck import ImageLimits, ImageRejected, check_image
from imagemill.imageformats import FORMATS
from processor.operations.base import EncodeOptions, OperationError, SourceInfo
from schemas.errors import ErrorCode

_DEFAULT_QUALITY = 90
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})
# Formats that a result without alpha keeps from its source; the others become PNG.
_KEPT = frozenset({"jpeg", "png", "webp"})
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})

# What decoding may shrink a picture of a size to, or None to keep it whole.
WantedSize = Callable[[tuple[int, int]], tuple[int, int] | None]


def decode(
    file: BinaryIO, filename: str | None, limits: ImageLimits, wanted: WantedSize | None = None
) -> tuple[Image.Image, SourceInfo]:
    """The first frame of an image file as an upright picture in mode L, LA, RGB or RGBA.

    Limits are checked from the header, before a pixel is decoded. JPEGs are decoded at a fraction
    of their size where `wanted` allows it.

    Raises:
        OperationError: not a whole image, or over a limit.
    """
    try:
        facts = check_image(file, None, limits)
    except ImageRejected as exc:
        raise OperationError(exc.code, exc.message) from exc
    file.seek(0)
    try:
        image = Image.open(file)
        orientation = image.getexif().get(_ORIENTATION, 1)
        size = (facts.height, facts.width) if orientation in _SIDEWAYS else image.size
        icc_profile, exif = image.info.get("icc_profile"), image.info.get("exif")
        target = wanted(size) if wanted else None
        if target is not None:
            image.draft(None, target if orientation not in _SIDEWAYS else target[::-1])
        upright = ImageOps.exif_transpose(image)
        plain = _plain_mode(upright)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        # Pillow's decoders raise any of these for damaged data.
        named = filename or "The image"
        raise OperationError(
            ErrorCode.IMAGE_UNDECODABLE, f"{named} cannot be decoded: {exc}"
        ) from exc
    if plain.mode[:3] != upright.mode[:3] and upright.mode not in ("P", "PA"):
        icc_profile = None  # it described the colours before the conversion
    return plain, SourceInfo(
        format=facts.format,
        size=size,
        bytes=facts.bytes,
        icc_profile=icc_profile,
        exif=exif,
        filename=filename,
    )


def _plain_mode(image: Image.Image) -> Image.Image:
    """The picture in one of the four modes that operations know."""
    image.load()
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        # A single transparent colour counts as alpha.
        return image.convert("RGBA") if "transparency" in image.info else image
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in ("I", "F"):
        low, high = image.getextrema()
        scale = 255 / (high - low) if high > low else 1
        return image.point(lambda value: (value - low) * scale).convert("L")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "La":
        return image.convert("LA")
    if image.mode in ("PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def choose_format(image: Image.Image, options: EncodeOptions, source: SourceInfo) -> str:
    """The format of the result: as asked for, PNG for alpha, else the source's if common."""
    if options.format is not None:
        return options.format
    if image.mode in _WITH_ALPHA:
        return "png"
    return source.format if source.format in _KEPT else "png"


def encode(image: Image.Image, options: EncodeOptions, source: SourceInfo) -> tuple[bytes, str]:
    """The picture's file and the name of its format.

    Colour profile and EXIF are the source's, without the orientation, which has been applied;
    `strip_metadata` leaves both out.

    Raises:
        OperationError: the picture cannot be written in that format (params_invalid).
    """
    name = choose_format(image, options, source)
    arguments: dict[str, object] = {}
    if name == "png":
        arguments["compress_level"] = options.png_level
    elif name == "jpeg":
        arguments |= {"quality": options.quality or _DEFAULT_QUALITY, "optimize": False}
        image = _without_alpha(image)
    elif name == "webp":
        arguments |= {"quality": options.quality or _DEFAULT_QUALITY, "method": 2}
    elif name == "avif" and options.quality:
        arguments["quality"] = options.quality
    elif name == "bmp":
        image = _without_alpha(image)
    if not options.strip_metadata:
        arguments |= _metadata(image, source)
    buffer = io.BytesIO()
    try:
        image.save(buffer, FORMATS[name].pillow, **arguments)
    except (OSError, ValueError, KeyError) as exc:
        raise OperationError(
            ErrorCode.PARAMS_INVALID, f"The result cannot be written as {name}: {exc}"
        ) from exc
    return buffer.getvalue(), name


def _metadata(image: Image.Image, source: SourceInfo) -> dict[str, object]:
    metadata: dict[str, object] = {}
    # A profile of RGB colours does not fit grey ones, and the other way round.
    if source.icc_profile and image.mode.startswith("RGB"):
        metadata["icc_profile"] = source.icc_profile
    if source.exif:
        exif = Image.Exif()
        exif.load(source.exif)
        exif.pop(_ORIENTATION, None)
        metadata["exif"] = exif.tobytes()
    return metadata


def _without_alpha(image: Image.Image) -> Image.Image:
    """The picture on white, for formats without alpha."""
    if image.mode not in _WITH_ALPHA:
        return image
    plain = Image.new("RGB", image.size, "white")
    plain.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return plain if image.mode != "LA" else plain.convert("L")
