"""Find out by how much a page is turned, with rapidocr's own classifier of upside-down lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rapidocr import RapidOCR

Point = tuple[float, float]

# rapidocr turns a line that is higher than wide by this factor, counter-clockwise, to read it.
_TALL = 1.5
_TRANSPOSE = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


class PageOcr(RapidOCR):
    """rapidocr that keeps the direction of the lines of the last picture.

    `turn` is the angle, in degrees counter-clockwise, that makes most of the text upright.
    """

    turn = 0

    def run_ocr_steps(self, img: NDArray[np.uint8], op_record: dict[str, Any]) -> Any:
        """Find and read the lines; note in `turn` how most of them are turned."""
        self.turn = 0
        results = super().run_ocr_steps(img, op_record)
        found, classified, *_ = results
        if found.boxes is not None and classified.cls_res is not None:
            flipped = [
                "180" in label and score > self.text_cls.cls_thresh
                for label, score in classified.cls_res
            ]
            self.turn = turn_of(np.asarray(found.boxes), flipped)
        return results


def turn_of(boxes: NDArray[np.floating], flipped: list[bool]) -> int:
    """Return the angle that makes most of the text upright, in degrees counter-clockwise.

    `boxes` are quads from the picture's top left; `flipped` says which lines were upside down
    after tall ones had been turned by 90 degrees. A line counts by its length in letters.
    """
    across = np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1)
    down = np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)
    tall = down >= _TALL * across
    turns = np.where(tall, 90, 0) + np.where(flipped, 180, 0)
    weights = np.maximum(across, down) / np.maximum(np.minimum(across, down), 1)
    shares = {turn: weights[turns == turn].sum() / weights.sum() for turn in (90, 180, 270)}
    best = max(shares, key=lambda turn: shares[turn])
    return best if shares[best] > 0.5 else 0


def upright(image: Image.Image, turn: int) -> Image.Image:
    """Return the picture turned by that angle, in degrees counter-clockwise."""
    return image.transpose(_TRANSPOSE[turn])


def turned_back(point: Point, turn: int, size: tuple[int, int]) -> Point:
    """Return the place in the picture of `size` (width, height) of a point in its upright copy."""
    x, y = point
    width, height = size
    match turn:
        case 90:
            x, y = width - y, x
        case 180:
            x, y = width - x, height - y
        case 270:
            x, y = y, height - x
    return round(x, 1), round(y, 1)
