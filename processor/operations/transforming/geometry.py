"""Compute sizes and positions of transform's steps, in whole pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imagemill.images.check import ImageRejected, check_pixels
from imagemill.operations import OperationError
from schemas.params.transform import Crop, Gravity, Resize

Size = tuple[int, int]
Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

# Shares of the free space that lie left of and above the placed part.
_SHARES: dict[Gravity, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "north": (0.5, 0.0),
    "north_east": (1.0, 0.0),
    "east": (1.0, 0.5),
    "south_east": (1.0, 1.0),
    "south": (0.5, 1.0),
    "south_west": (0.0, 1.0),
    "west": (0.0, 0.5),
    "north_west": (0.0, 0.0),
}


@dataclass(frozen=True)
class ResizePlan:
    """The size of the result, and its box in the source as fractions of width and height."""

    size: Size
    box: Box = WHOLE


def check_size(size: Size, max_pixels: int, what: str = "The result") -> None:
    """Check a picture's size before it is created.

    Raises:
        OperationError: it is over the pixel limit (image_too_large).
    """
    try:
        check_pixels(*size, max_pixels, what)
    except ImageRejected as error:
        raise OperationError(error.code, error.message) from error


def plan_resize(step: Resize, size: Size) -> ResizePlan:
    """Plan the resize of a picture of that size."""
    width, height = size
    if step.mode == "exact":
        return ResizePlan((step.width or width, step.height or height))
    scales = [
        wanted / given for wanted, given in ((step.width, width), (step.height, height)) if wanted
    ]
    scale = min(scales) if step.mode == "fit" else max(scales)
    if not step.enlarge:
        scale = min(scale, 1.0)
    scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
    if step.mode == "fit":
        return ResizePlan(scaled)
    kept = (min(step.width or scaled[0], scaled[0]), min(step.height or scaled[1], scaled[1]))
    x, y = place(kept, scaled, step.gravity)
    return ResizePlan(
        kept,
        (
            x / scaled[0],
            y / scaled[1],
            (x + kept[0]) / scaled[0],
            (y + kept[1]) / scaled[1],
        ),
    )


def place(inner: Size, outer: Size, gravity: Gravity, margin: int = 0) -> tuple[int, int]:
    """Return left and top of `inner` within `outer`, `margin` pixels from the edges it is at."""
    across, down = _SHARES[gravity]
    return (
        margin + round((outer[0] - inner[0] - 2 * margin) * across),
        margin + round((outer[1] - inner[1] - 2 * margin) * down),
    )


def crop_box(step: Crop, size: Size) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of the part to cut out, or None if it lies outside."""
    if step.x is None or step.y is None:
        x, y = place((step.width, step.height), size, step.gravity)
    else:
        x, y = step.x, step.y
    box = (max(0, x), max(0, y), min(size[0], x + step.width), min(size[1], y + step.height))
    return box if box[0] < box[2] and box[1] < box[3] else None


def rotated_size(size: Size, degrees: float) -> Size:
    """Return a size that holds a picture rotated by that angle, at most 2 pixels too large."""
    angle = math.radians(degrees)
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    width, height = size
    return (
        math.ceil(width * cosine + height * sine) + 1,
        math.ceil(width * sine + height * cosine) + 1,
    )
