"""Writes a half-transparent text on a picture, once or all over it."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

from processor.operations.base import OperationError
from processor.operations.transforming import geometry
from processor.operations.transforming.colours import Rgba, holding
from schemas.errors import ErrorCode
from schemas.params.transform import Watermark

Font = ImageFont.FreeTypeFont

_SHARE_OF_SIDE = 20
_LEAST_SIZE = 8
# A code point that no font has: it gives the box that stands for missing letters.
_MISSING = "\U0010fffe"
# Pillow's own font has ASCII only; these are looked for in the system's font folders.
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")


def watermark(step: Watermark, image: Image.Image) -> Image.Image:
    """A copy of the picture with the text on it; what does not fit is cut off.

    Raises:
        OperationError: the font lacks a letter of the text (params_invalid).
    """
    size = step.size or max(_LEAST_SIZE, min(image.size) // _SHARE_OF_SIDE)
    stamp = _stamp(step, _font_for(step.text, size))
    opaque: Rgba = (*step.color[:3], 255)
    marked = holding(image, opaque)
    marked = marked.copy() if marked is image else marked
    for corner in _corners(step, stamp.size, image.size):
        _put(marked, stamp, corner)
    return marked


def _font_for(text: str, size: int) -> Font:
    """The first font that has all letters of the text."""
    lacking: list[str] = []
    for font in _fonts(size):
        lacking = _lacking(text, font)
        if not lacking:
            return font
    raise OperationError(
        ErrorCode.PARAMS_INVALID,
        f"No font of this worker has the letter {lacking[0]!a}; write it in ASCII letters, or have "
        "DejaVu or Noto fonts installed.",
    )


def _fonts(size: int) -> Iterator[Font]:
    yield ImageFont.load_default(size)
    for name in _WIDER_FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue  # not installed
        yield font


def _lacking(text: str, font: Font) -> list[str]:
    missing = bytes(font.getmask(_MISSING))
    return sorted(
        letter
        for letter in set(text)
        if not letter.isspace() and bytes(font.getmask(letter)) == missing
    )


def _stamp(step: Watermark, font: Font) -> Image.Image:
    left, top, right, bottom = map(round, font.getbbox(step.text))
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    visible = round(step.color[3] * step.opacity)
    ImageDraw.Draw(mask).text((-left, -top), step.text, fill=visible, font=font)
    stamp = Image.new("RGB", mask.size, step.color[:3])
    stamp.putalpha(mask)
    return stamp


def _corners(
    step: Watermark, stamp: geometry.Size, image: geometry.Size
) -> Iterator[tuple[int, int]]:
    if not step.tile:
        yield geometry.place(stamp, image, step.gravity, step.margin)
        return
    gap = stamp[1] * 2 + step.margin
    for row, y in enumerate(range(step.margin, image[1], stamp[1] + gap)):
        # Every other row begins half a text further left, so that no gap runs down the picture.
        start = step.margin - (row % 2) * (stamp[0] + gap) // 2
        for x in range(start, image[0], stamp[0] + gap):
            yield x, y


def _put(image: Image.Image, stamp: Image.Image, corner: tuple[int, int]) -> None:
    """Lay the stamp over the picture; only the touched part is converted."""
    x, y = corner
    box = (
        max(0, x),
        max(0, y),
        min(image.width, x + stamp.width),
        min(image.height, y + stamp.height),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    below = image.crop(box).convert("RGBA")
    below.alpha_composite(stamp, source=(box[0] - x, box[1] - y, box[2] - x, box[3] - y))
    image.paste(below.convert(image.mode), box)
