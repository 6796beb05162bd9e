"""Write a half-transparent text on a picture, once or repeated."""

from __future__ import annotations

from PIL import Image, ImageDraw

from imagemill.operations import OperationError
from processor.operations.fonts import Font, find_font
from processor.operations.transforming import geometry
from processor.operations.transforming.colours import Rgba, holding
from schemas.errors import ErrorCode
from schemas.params.transform import Watermark

# The default size of letters is this fraction of the shorter side, and at least so many pixels.
_SIDE_DIVISOR = 20
_MIN_SIZE = 8


def watermark(step: Watermark, image: Image.Image, max_pixels: int) -> Image.Image:
    """Return a copy of the picture with the text on it, cut off at the edges.

    Raises:
        OperationError: no font has all letters of the text (params_invalid), or the text is over
            `max_pixels` itself (image_too_large).
    """
    size = step.size or max(_MIN_SIZE, min(image.size) // _SIDE_DIVISOR)
    font, lacking = find_font(step.text, size)
    if lacking:
        raise OperationError(
            ErrorCode.PARAMS_INVALID,
            f"No font of this worker has the letter {lacking[0]!a}; write it in ASCII letters, or "
            "have DejaVu or Noto fonts installed.",
        )
    stamp = _stamp(step, font, max_pixels)
    opaque: Rgba = (*step.color[:3], 255)
    marked = holding(image, opaque)
    marked = marked.copy() if marked is image else marked
    if not step.tile:
        _put(marked, stamp, geometry.place(stamp.size, image.size, step.gravity, step.margin))
        return marked
    gap = stamp.height * 2 + step.margin
    pitch = stamp.width + gap
    row = _row(stamp, pitch, image.width)
    for number, y in enumerate(range(step.margin, image.height, stamp.height + gap)):
        # Every other row begins half a pitch further left, so that no gap runs down the picture.
        _put(marked, row, (step.margin - (number % 2) * pitch // 2, y))
    return marked


def _stamp(step: Watermark, font: Font, max_pixels: int) -> Image.Image:
    left, top, right, bottom = map(round, font.getbbox(step.text))
    size = (max(1, right - left), max(1, bottom - top))
    geometry.check_size(size, max_pixels, "The text")
    mask = Image.new("L", size)
    visible = round(step.color[3] * step.opacity)
    ImageDraw.Draw(mask).text((-left, -top), step.text, fill=visible, font=font)
    stamp = Image.new("RGB", mask.size, step.color[:3])
    stamp.putalpha(mask)
    return stamp


def _row(stamp: Image.Image, pitch: int, width: int) -> Image.Image:
    """Return stamps side by side, one pitch longer than a picture of that width."""
    row = Image.new("RGBA", (width + pitch, stamp.height))
    for x in range(0, row.width, pitch):
        row.paste(stamp, (x, 0))
    return row


def _put(image: Image.Image, stamp: Image.Image, corner: tuple[int, int]) -> None:
    """Lay the stamp over the picture; only the part below it is converted."""
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
