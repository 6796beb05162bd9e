"""Edges finer than the mask: closed-form alpha matting and foreground colours, by PyMatting."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

# numba's simplest threading layer ends the process when two threads are in it.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Thresholds:
    """Which mask values are surely subject or background, and the unsure band's width in pixels."""

    foreground: int
    background: int
    erode: int


def matted(image: Image.Image, mask: Image.Image, thresholds: Thresholds) -> Image.Image:
    """The RGBA cut-out with its alpha worked out from the picture between the sure parts.

    Where the mask leaves nothing sure there is nothing to work from: the mask stays the alpha.
    """
    from pymatting import estimate_alpha_cf  # compiles with numba: a second that few jobs need

    pixels = np.asarray(image.convert("RGB")) / 255.0
    trimap = trimap_of(np.asarray(mask), thresholds)
    if not (trimap == 0).any() or not (trimap == 255).any():
        return decontaminated(image, mask)
    with _one_at_a_time:
        alpha = estimate_alpha_cf(pixels, trimap / 255.0)
    return _with_foreground(pixels, alpha)


def decontaminated(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The RGBA cut-out whose half-transparent pixels have the subject's colour alone."""
    pixels = np.asarray(image.convert("RGB")) / 255.0
    return _with_foreground(pixels, np.asarray(mask) / 255.0)


def trimap_of(mask: NDArray[np.uint8], thresholds: Thresholds) -> NDArray[np.uint8]:
    """255 surely subject, 0 surely background, 128 to be worked out."""
    structure = np.ones((thresholds.erode, thresholds.erode)) if thresholds.erode else None
    subject = binary_erosion(mask > thresholds.foreground, structure=structure)
    background = binary_erosion(mask < thresholds.background, structure=structure, border_value=1)
    trimap = np.full(mask.shape, 128, dtype=np.uint8)
    trimap[subject] = 255
    trimap[background] = 0
    return trimap


def _with_foreground(pixels: NDArray[np.float64], alpha: NDArray[np.float64]) -> Image.Image:
    from pymatting import estimate_foreground_ml

    with _one_at_a_time:
        foreground = estimate_foreground_ml(pixels, alpha)
    cutout = np.dstack([foreground, alpha])
    return Image.fromarray(np.clip(cutout * 255, 0, 255).astype(np.uint8))
