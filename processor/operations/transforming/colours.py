"""Convert colours to the mode of a picture, and pictures to a mode that can hold a colour."""

from __future__ import annotations

from PIL import Image

Rgba = tuple[int, int, int, int]

TRANSPARENT: Rgba = (0, 0, 0, 0)


def has_alpha(image: Image.Image) -> bool:
    """Return True if the picture, in one of the modes of decode(), has an alpha channel."""
    return image.mode in ("LA", "RGBA")


def holding(image: Image.Image, colour: Rgba) -> Image.Image:
    """Return the picture in a mode that can hold the colour: RGB for colours, alpha if needed."""
    grey = image.mode in ("L", "LA") and colour[0] == colour[1] == colour[2]
    alpha = has_alpha(image) or colour[3] < 255
    mode = ("L" if grey else "RGB") + ("A" if alpha else "")
    return image if image.mode == mode else image.convert(mode)


def in_mode(colour: Rgba, mode: str) -> int | tuple[int, ...]:
    """Return the colour in the form that Pillow takes for a picture of that mode."""
    red, green, blue, alpha = colour
    return {
        "L": red,
        "LA": (red, alpha),
        "RGB": (red, green, blue),
        "RGBA": colour,
    }[mode]
