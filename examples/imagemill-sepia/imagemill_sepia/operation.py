"""Tone a picture in sepia; runs in imagemill's inference processes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imagemill.operations import Output, RunContext
from imagemill_sepia import SepiaParams

# Rows give red, green and blue of the result from red, green and blue of the picture.
SEPIA = np.array(
    [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], dtype=np.float32
)


def run(image: Image.Image, params: SepiaParams, context: RunContext) -> Output:
    """The picture toned; transparency stays."""
    mix = (1 - params.strength) * np.eye(3, dtype=np.float32) + params.strength * SEPIA
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) @ mix.T
    toned = Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        toned.putalpha(image.convert("RGBA").getchannel("A"))
    return Output(image=toned)
