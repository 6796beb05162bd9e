"""What can be said of a picture without a model: size, format, dominant colours."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from typing import Any

from PIL import Image

from imagemill.operations import SourceInfo

Colour = tuple[int, int, int]

# Colours are counted in a small copy, and those below this share of it are not dominant.
_SAMPLE = (128, 128)
_PALETTE = 24
_MOST = 5
_LEAST_SHARE = 0.03
_OPAQUE = 128

# Hue in degrees below which the name holds; red comes round again at 345.
_HUES = (
    (14, "red"),
    (45, "orange"),
    (68, "yellow"),
    (165, "green"),
    (200, "turquoise"),
    (255, "blue"),
    (290, "purple"),
    (345, "pink"),
    (361, "red"),
)


def image_facts(image: Image.Image, source: SourceInfo) -> dict[str, Any]:
    """{width, height, format, bytes, colours: [{hex, name, share}]}, the largest share first.

    Width and height are those of the upright picture, format and bytes those of the file.
    """
    return {
        "width": image.width,
        "height": image.height,
        "format": source.format.lower(),
        "bytes": source.bytes,
        "colours": dominant_colours(image),
    }


def dominant_colours(image: Image.Image) -> list[dict[str, Any]]:
    """Up to five differently named colours of the opaque part, with their shares (0 to 1) of it.

    `hex` is the mean of what goes by the name in this picture.
    """
    rgba = image.convert("RGBA")
    rgba.thumbnail(_SAMPLE, Image.Resampling.BOX)
    mask = rgba.getchannel("A").point(lambda alpha: 255 if alpha >= _OPAQUE else 0)
    opaque = mask.histogram()[255]
    if not opaque:
        return []
    palette = rgba.convert("RGB").quantize(_PALETTE, Image.Quantize.MEDIANCUT)
    flat = palette.getpalette() or []
    named: defaultdict[str, list[tuple[int, Colour]]] = defaultdict(list)
    for number, count in enumerate(palette.histogram(mask)):
        if count:
            colour = (flat[number * 3], flat[number * 3 + 1], flat[number * 3 + 2])
            named[colour_name(colour)].append((count, colour))
    groups = [_group(name, members, opaque) for name, members in named.items()]
    groups.sort(key=lambda group: -group["share"])
    return [group for group in groups[:_MOST] if group["share"] >= _LEAST_SHARE]


def _group(name: str, members: list[tuple[int, Colour]], opaque: int) -> dict[str, Any]:
    pixels = sum(count for count, _ in members)
    mean = (round(sum(count * c[i] for count, c in members) / pixels) for i in range(3))
    return {
        "hex": "#{:02x}{:02x}{:02x}".format(*mean),
        "name": name,
        "share": round(pixels / opaque, 3),
    }


def colour_name(colour: Colour) -> str:
    """What most people would call the colour: black, dark green, beige."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    if value < 0.15:
        return "black"
    if saturation < 0.13:
        return _grey(value)
    name = next(name for limit, name in _HUES if hue * 360 < limit)
    # Orange is said of bright colours only, and pink of light reds too.
    if name == "orange" and value < 0.78:
        return "brown" if value > 0.3 else "dark brown"
    if name in ("orange", "yellow") and saturation < 0.42:
        return "beige"
    if name == "red" and saturation < 0.5 and value > 0.75:
        return "pink"
    if value < 0.45:
        return f"dark {name}"
    return f"light {name}" if saturation < 0.4 and value > 0.75 else name


def _grey(value: float) -> str:
    if value > 0.93:
        return "white"
    if value > 0.68:
        return "light grey"
    return "grey" if value > 0.38 else "dark grey"
