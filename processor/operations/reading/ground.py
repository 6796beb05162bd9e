"""Lay a transparent picture on a ground from which its text stands out, whatever its colour."""

from __future__ import annotations

from PIL import Image

# Grounds as grey levels, 0 to 255, the preferred one first: grey is for text both dark and bright.
_GROUNDS = (255, 0, 128)
# Least alpha, 0 to 255, of a pixel that counts as visible.
_LEAST_VISIBLE = 64
# Share of the visible pixels that may be nearer to the ground than the contrast counted.
_SMALLEST_SHARE = 0.05


def on_readable_ground(image: Image.Image) -> Image.Image:
    """Return the picture in RGB, on white, black or grey where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    level = _best_ground(rgba)
    ground = Image.new("RGBA", rgba.size, (level, level, level, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")


def _best_ground(rgba: Image.Image) -> int:
    """Return the ground that differs most from nearly all visible pixels."""
    alpha = rgba.getchannel("A")
    visible = alpha.point([255 * (value >= _LEAST_VISIBLE) for value in range(256)])
    levels = rgba.convert("RGB").convert("L").histogram(visible)
    return max(_GROUNDS, key=lambda ground: _contrast(levels, ground))


def _contrast(levels: list[int], ground: int) -> int:
    """Return the difference in levels that all but the smallest share of the pixels exceed."""
    left_out = sum(levels) * _SMALLEST_SHARE
    nearest_first = sorted(range(256), key=lambda level: abs(level - ground))
    for level in nearest_first:
        left_out -= levels[level]
        if left_out < 0:
            return abs(level - ground)
    return 0
