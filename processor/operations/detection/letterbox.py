"""Convert a picture to detector input, and boxes back: resize, pad, colour order, range, axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Grey level of the padding, 0 to 255, as YOLO models are trained with.
PAD = 114


@dataclass(frozen=True)
class InputRecipe:
    """The steps from a picture to one detector's input.

    `fit`: `center` and `corner` keep the proportions and pad with PAD around the picture, or to its
    right and below it; `stretch` fills the input. `span` is the value of a full channel, 1 or 255,
    before `mean` is subtracted and the result divided by `std`.
    """

    width: int
    height: int
    fit: Literal["center", "corner", "stretch"] = "center"
    channels: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: str = "float32"
    span: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Placement:
    """Position of the picture in the detector's input: source pixel * scale + offset."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[int, int]

    def to_source(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return boxes [n, 4] (x0, y0, x1, y1) of the input in source pixels, cut at the edge."""
        offset = np.array(self.offset * 2)
        scale = np.array(self.scale * 2)
        edge = np.array(self.size * 2, dtype=np.float64)
        return np.clip((boxes - offset) / scale, 0.0, edge)


def prepare(image: Image.Image, recipe: InputRecipe) -> tuple[NDArray, Placement]:
    """Return the detector input of an upright picture of any mode, and the picture's placement."""
    canvas, placement = _place(flatten(image), recipe)
    pixels = np.asarray(canvas)
    if recipe.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    tensor = pixels.astype(recipe.dtype)
    if recipe.span != 255.0:
        tensor *= tensor.dtype.type(recipe.span / 255.0)
    if any(recipe.mean) or any(value != 1.0 for value in recipe.std):
        tensor -= np.array(recipe.mean, dtype=tensor.dtype)
        tensor /= np.array(recipe.std, dtype=tensor.dtype)
    if recipe.layout == "NCHW":
        tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1))
    return tensor[None], placement


def flatten(image: Image.Image) -> Image.Image:
    """Return the picture in RGB, on the grey of the padding where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    backdrop = Image.new("RGBA", rgba.size, (PAD, PAD, PAD, 255))
    return Image.alpha_composite(backdrop, rgba).convert("RGB")


def _place(image: Image.Image, recipe: InputRecipe) -> tuple[Image.Image, Placement]:
    target = (recipe.width, recipe.height)
    if recipe.fit == "stretch":
        scale = (target[0] / image.width, target[1] / image.height)
        return _resized(image, target), Placement(scale, (0.0, 0.0), image.size)
    factor = min(target[0] / image.width, target[1] / image.height)
    inner = (
        max(1, min(target[0], round(image.width * factor))),
        max(1, min(target[1], round(image.height * factor))),
    )
    offset = (0, 0)
    if recipe.fit == "center":
        offset = ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2)
    # The scale follows from the rounded size: `factor` would shift the boxes of narrow pictures.
    scale = (inner[0] / image.width, inner[1] / image.height)
    placement = Placement(scale, (float(offset[0]), float(offset[1])), image.size)
    canvas = Image.new("RGB", target, (PAD, PAD, PAD))
    canvas.paste(_resized(image, inner), offset)
    return canvas, placement


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    # reducing_gap is faster for large photos; its error is below that of bilinear filtering.
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
