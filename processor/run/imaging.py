"""From an image file to an upright picture, and from a picture to a file."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps

from imagemill.images.check import ImageLimits, ImageRejected, check_image, check_pixels
from imagemill.images.formats import FORMATS
from imagemill.operations import EncodeOptions, OperationError, SourceInfo
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

_DEFAULT_QUALITY = 90
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})
# Formats that a result without alpha keeps from its source; the others become PNG.
_KEPT = frozenset({"jpeg", "png", "webp"})
_ORIENTATION = 0x0112
_ORIENTATIONS = range(1, 9)
_SIDEWAYS = frozenset({5, 6, 7, 8})
# Pillow's decoders raise any of these for damaged data.
_DECODING_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error)
# What Pillow raises for EXIF data that is damaged in one way or another.
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error)
_JPEG_EXIF_BYTES = 65_000
# What Pillow's encoders raise for a picture that their format cannot hold.
_ENCODING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, OverflowError, struct.error)
# Where an ICC profile says what it describes: colours, greys or inks.
_PROFILE_SPACE = slice(16, 20)

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
        file.seek(0)
        image = _open(file, facts.format, filename)
        check_pixels(*image.size, limits.max_pixels)
    except ImageRejected as error:
        raise OperationError(error.code, error.message) from error
    try:
        if facts.format != "jpeg":
            # Reading a PNG's EXIF data would load it too, and hide that its pixels are damaged.
            image.load()
        orientation, exif = _exif_of(image)
        sideways = orientation in _SIDEWAYS
        size = image.size[::-1] if sideways else image.size
        icc_profile = image.info.get("icc_profile")
        target = wanted(size) if wanted and facts.format == "jpeg" else None
        shrunk = 1 if target is None else _draft(image, target[::-1] if sideways else target)
        image.load()
        if orientation != 1:
            ImageOps.exif_transpose(image, in_place=True)
        plain = _plain_mode(image)
    except _DECODING_ERRORS as error:
        raise _undecodable(filename, error) from error
    return plain, SourceInfo(
        format=facts.format,
        size=size,
        bytes=facts.bytes,
        icc_profile=icc_profile,
        exif=exif,
        filename=filename,
        shrunk=shrunk,
    )


def _draft(image: Image.Image, target: tuple[int, int]) -> int:
    """Have a JPEG decoded at a fraction that is no smaller than the target; by what it is less."""
    width = image.width
    drafted = image.draft(None, target)
    return round(width / drafted[1][2]) if drafted else 1


def _open(file: BinaryIO, name: str, filename: str | None) -> Image.Image:
    try:
        return Image.open(file, formats=[FORMATS[name].pillow])
    except _DECODING_ERRORS as error:
        raise _undecodable(filename, error) from error


def _undecodable(filename: str | None, error: Exception) -> OperationError:
    named = filename or "The image"
    return OperationError(ErrorCode.IMAGE_UNDECODABLE, f"{named} cannot be decoded: {error}")


def _exif_of(image: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, 1 to 8, and the EXIF data without it; damaged data counts as none."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        kept = None
        if image.info.get("exif"):
            rest = Image.Exif()
            rest.load(image.info["exif"])
            rest.pop(_ORIENTATION, None)
            kept = rest.tobytes()
    except _EXIF_ERRORS as error:
        log.info("the EXIF data of an image is left out: %r", error)
        return 1, None
    return (orientation if orientation in _ORIENTATIONS else 1), kept


def _plain_mode(image: Image.Image) -> Image.Image:
    """The picture in one of the four modes that operations know."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        # A single transparent colour counts as alpha.
        return image.convert("RGBA") if "transparency" in image.info else image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        low, high = image.getextrema()
        scale = 255 / (high - low) if high > low else 1
        return image.point(lambda value: (value - low) * scale).convert("L")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        return _printed_colours(image)
    if image.mode in ("PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _printed_colours(image: Image.Image) -> Image.Image:
    """A CMYK picture's colours as its profile says they look on paper."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        screen = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, profile, screen, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        log.info("the colour profile of an image is not used: %s", error)
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
    `strip_metadata` leaves both out. Where greys have become colours, or colours greys, the profile
    does not describe them any more: their tones become those of sRGB, which needs none.

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
        arguments |= _metadata(image, name, source)
        if source.icc_profile and "icc_profile" not in arguments:
            image = _in_srgb_tones(image, source.icc_profile)
    # Pillow would also write what it has kept of the source file, asked or not.
    image.info = {}
    buffer = io.BytesIO()
    try:
        image.save(buffer, FORMATS[name].pillow, **arguments)
    except _ENCODING_ERRORS as error:
        raise OperationError(
            ErrorCode.PARAMS_INVALID, f"The result cannot be written as {name}: {error}"
        ) from error
    return buffer.getvalue(), name


def _metadata(image: Image.Image, name: str, source: SourceInfo) -> dict[str, object]:
    metadata: dict[str, object] = {}
    # A profile describes either colours or greys, as its header says.
    space = b"RGB " if image.mode.startswith("RGB") else b"GRAY"
    if source.icc_profile and source.icc_profile[_PROFILE_SPACE] == space:
        metadata["icc_profile"] = source.icc_profile
    if source.exif and (name != "jpeg" or len(source.exif) <= _JPEG_EXIF_BYTES):
        metadata["exif"] = source.exif
    return metadata


def _in_srgb_tones(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture with its tones changed as the profile's greys are when they become sRGB."""
    mode = {b"GRAY": "L", b"RGB ": "RGB"}.get(profile[_PROFILE_SPACE])
    if mode is None:
        return image  # the colours have been converted when they were decoded
    greys = Image.frombytes("L", (256, 1), bytes(range(256))).convert(mode)
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        screen = ImageCms.createProfile("sRGB")
        tones = ImageCms.profileToProfile(greys, known, screen, outputMode="RGB").getchannel("G")
    except (ImageCms.PyCMSError, OSError) as error:
        log.info("the colour profile of an image is not used: %s", error)
        return image
    table = list(tones.tobytes())
    kept = list(range(256)) if image.mode in _WITH_ALPHA else []
    return image.point(table * (len(image.getbands()) - bool(kept)) + kept)


def _without_alpha(image: Image.Image) -> Image.Image:
    """The picture on white, for formats without alpha."""
    if image.mode not in _WITH_ALPHA:
        return image
    plain = Image.new("RGB", image.size, "white")
    plain.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return plain if image.mode != "LA" else plain.convert("L")
