"""Pictures to input tensors and outputs to masks, for U2-Net and models like it, as in rembg."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from processor.models.manifest import ModelInput

# Input of models of this family whose entry gives none.
U2NET_INPUT = ModelInput(
    size=(320, 320), scale="image-max", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
_CROSS = ndimage.generate_binary_structure(2, 1)
# Least alpha of a pixel in the bounding box, 0 to 255: a resized mask is seldom exactly 0.
_LEAST_VISIBLE = 10


def to_tensor(image: Image.Image, recipe: ModelInput) -> NDArray[np.float32]:
    """Return the picture as the model's input, [1, 3, height, width] or channels last."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    pixels = np.asarray(rgb.resize(recipe.size, Image.Resampling.LANCZOS))
    if recipe.channels == "bgr":
        pixels = pixels[:, :, ::-1]
    std = np.asarray(recipe.std)
    factor = (1 / (_divisor(pixels, recipe) * std)).astype(np.float32)
    offset = (np.asarray(recipe.mean) / std).astype(np.float32)
    values = pixels * factor - offset
    if recipe.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[np.newaxis], dtype=np.float32)


def _divisor(pixels: NDArray[np.uint8], recipe: ModelInput) -> float:
    match recipe.scale:
        case "image-max":
            return max(float(pixels.max()), 1e-6)
        case "255":
            return 255.0
        case "none":
            return 1.0


def to_mask(output: NDArray[np.floating], size: tuple[int, int]) -> Image.Image:
    """Return the output stretched to 0 to 255 and resized to `size` (width, height), mode L.

    Raises:
        ValueError: the output is not one picture.
    """
    values = np.squeeze(np.asarray(output, dtype=np.float32))
    if values.ndim == 3:
        values = values[0]
    if values.ndim != 2:
        raise ValueError(f"the output {list(np.shape(output))} is not a mask")
    low, high = float(values.min()), float(values.max())
    spread = high - low
    # An output that is the same everywhere: the model has found nothing.
    scaled = (values - low) / spread if spread > 0 else np.zeros_like(values)
    return Image.fromarray((scaled * 255).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)


def smoothed(mask: Image.Image) -> Image.Image:
    """Return the mask in black and white, without specks and smoothed (post_process_mask)."""
    opened = ndimage.grey_dilation(
        ndimage.grey_erosion(np.asarray(mask), footprint=_CROSS), footprint=_CROSS
    )
    blurred = ndimage.gaussian_filter(opened.astype(np.float64), sigma=2)
    return Image.fromarray(np.where(blurred < 127, 0, 255).astype(np.uint8))


def visible_box(alpha: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box (left, top, right, bottom) of what is visible, or None if nothing is."""
    return alpha.point([255 * (value >= _LEAST_VISIBLE) for value in range(256)]).getbbox()
