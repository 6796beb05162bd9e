"""Pictures of any of Pillow's modes in one of the four modes that operations know."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops

from processor.imaging import profiles

PLAIN = ("L", "LA", "RGB", "RGBA")
_KEYED = frozenset({"1", "L", "I;16", "RGB"})
# The largest sample, and the factor by which Pillow scales samples to 8 bits.
_SMALL_SAMPLES = {"L;2": (3, 85), "L;4": (15, 17)}
_LOW_BYTES = "RGB;16L"


def plain(image: Image.Image) -> Image.Image:
    """Return the picture in mode L, LA, RGB or RGBA, its transparency kept.

    Inks and CIELAB become sRGB. Samples of 16 bits lose their low byte, and values without a range
    of their own (32 bits and floats) are stretched from black to white.
    """
    if image.mode in PLAIN:
        return image.convert("RGBA") if "transparency" in image.info else image
    match image.mode:
        case "1":
            return image.convert("RGBA" if "transparency" in image.info else "L")
        case "I" | "F":
            return _stretched(image)
        case "La":
            return image.convert("LA")
        case "CMYK":
            return profiles.printed_in_srgb(image, image.info.get("icc_profile"))
        case "LAB":
            return profiles.lab_in_srgb(image)
        case mode if mode.startswith("I;16"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        case mode:
            clear = mode in ("PA", "RGBa") or "transparency" in image.info
            return image.convert("RGBA" if clear else "RGB")


def _stretched(image: Image.Image) -> Image.Image:
    # Not float64: a copy of 50 megapixels would take 400 MB.
    values = np.asarray(image, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        return Image.new("L", image.size)
    low, high = float(values[finite].min()), float(values[finite].max())
    scale = 255 / (high - low) if high > low else 1
    # Not a number is black; infinities are the ends of the range.
    shown = np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
    return Image.fromarray(np.rint((shown - low) * scale).astype(np.uint8))


def clear_outside(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a picture of the modes above that is clear outside the box, as a GIF's first frame."""
    if box == (0, 0, *image.size):
        return image
    alpha = Image.new("L", image.size)
    inside = image.convert("RGBA").getchannel("A").crop(box)
    alpha.paste(inside, box)
    framed = image.convert("RGBA")
    framed.putalpha(alpha)
    return framed


class PngKey:
    """The samples that a PNG's tRNS chunk makes transparent, in a file without an alpha channel.

    Pillow compares the key with samples that it has scaled to 8 bits, which is wrong for greys of
    2 and 4 bits and for all samples of 16 bits.
    """

    def __init__(self, image: Image.Image, file: BinaryIO) -> None:
        """Take the key out of `image.info`; `image` is opened from `file` and not loaded yet."""
        self._file = file
        self._mode = image.mode
        self._raw_mode = _raw_mode(image)
        self._key = image.info.pop("transparency", None) if image.mode in _KEYED else None

    def plain(self, image: Image.Image) -> Image.Image:
        """Return plain(image) of the loaded `image`, with alpha 0 where it has the key.

        Raises:
            OSError: the file cannot be decoded a second time.
        """
        if self._key is None:
            return plain(image)
        keyed = plain(image).convert("RGBA")
        keyed.putalpha(ImageChops.invert(self._matches(image)))
        return keyed

    def _matches(self, image: Image.Image) -> Image.Image:
        """Return a mask, 255 where the sample is the key."""
        if self._mode == "I;16":
            return Image.fromarray((np.asarray(image) == self._key).astype(np.uint8) * 255)
        if self._mode == "RGB" and self._raw_mode == "RGB;16B":
            high = _equal(image, [value >> 8 for value in self._key])
            return ImageChops.darker(high, _equal(self._low_bytes(), self._key))
        if self._mode == "RGB":
            return _equal(image, self._key)
        largest, factor = _SMALL_SAMPLES.get(self._raw_mode, (255, 1))
        return _equal(image.convert("L"), [(self._key & largest) * factor])

    def _low_bytes(self) -> Image.Image:
        """Decode the low bytes of samples of 16 bits, which Pillow leaves out."""
        self._file.seek(0)
        image = Image.open(self._file, formats=["PNG"])
        # Read as little-endian, the low byte of each sample is taken for the high one.
        image.tile = [tile._replace(args=_LOW_BYTES) for tile in image.tile]
        image.load()
        return image


def _raw_mode(image: Image.Image) -> str:
    arguments = image.tile[0].args if image.tile else ""
    return arguments if isinstance(arguments, str) else arguments[0]


def _equal(image: Image.Image, key: list[int] | tuple[int, ...]) -> Image.Image:
    """Return a mask, 255 where every band has the low byte of its key."""
    masks = [
        band.point([255 * (value == wanted & 0xFF) for value in range(256)])
        for band, wanted in zip(image.split(), key, strict=True)
    ]
    mask = masks[0]
    for other in masks[1:]:
        mask = ImageChops.darker(mask, other)
    return mask
