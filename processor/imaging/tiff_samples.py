"""Samples of TIFF files that Pillow 13 reads wrongly without an error."""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_UNSIGNED = 1
_PLANES = frozenset("RGBA")


def prepare(image: TiffImagePlugin.TiffImageFile) -> None:
    """Let Pillow read both bytes of samples of 16 bits in separate, uncompressed planes."""
    tags = image.tag_v2
    if set(tags.get(_BITS, ())) != {16}:
        return
    order = "L" if tags.prefix == b"II" else "B"
    image.tile = [
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
        if tile.codec_name == "raw" and tile.args[0] in _PLANES
        else tile
        for tile in image.tile
    ]


def corrected(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """Return the loaded picture with its samples as the file means them.

    Greys of 16 bits may have white at 0, and integers of 32 bits may have no sign.
    """
    tags = image.tag_v2
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return Image.fromarray((0xFFFF - np.asarray(image)).astype(np.uint16))
    unsigned = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
    if image.mode == "I" and unsigned and tags.get(_BITS) == (32,):
        values = np.asarray(image).view(np.uint32)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = 0xFFFFFFFF - values
        return Image.fromarray(values.astype(np.float32))
    return image
