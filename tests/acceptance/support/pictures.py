"""Pictures that a system answers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def image_of(content: bytes) -> Image.Image:
    """Decode a picture whole."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def assert_cut_out(content: bytes, original: Path) -> None:
    """Assert RGBA of the original's size, something opaque, and a clear top left corner."""
    picture = image_of(content)
    assert picture.mode == "RGBA"
    assert picture.size == image_of(original.read_bytes()).size
    alpha = np.asarray(picture)[..., 3]
    assert alpha.max() == 255
    assert alpha[:8, :8].mean() < 64
