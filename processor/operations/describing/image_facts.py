"""Describe a picture without a model: size, format, dominant colours."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from typing import Any

from PIL import Image

from imagemill.operations import SourceInfo
from processor.imaging.profiles import in_srgb

Colour = tuple[int, int, int]

# Size of the copy, in pixels, in which colours are counted, and most colours in its palette.
_SAMPLE_SIZE = (128, 128)
_PALETTE_COLOURS = 24
# Most dominant colours, and the least share of the copy of each.
_MAX_COLOURS = 5
_MIN_SHARE = 0.03
# Least alpha of a pixel that is counted, 0 to 255.
_MIN_ALPHA = 128

# Upper limit of each hue in degrees; red begins again at 345.
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
    """Return {width, height, format, bytes, colours: [{hex, name, share}]}, largest share first.

    Width and height are those of the upright picture, format and bytes those of the file.
    """
    return {
        "width": image.width,
        "height": image.height,
        "format": source.format.lower(),
        "bytes": source.bytes,
        "colours": dominant_colours(image, source.icc_profile),
    }


def dominant_colours(image: Image.Image, profile: bytes | None = None) -> list[dict[str, Any]]:
    """Return up to five colours of the opaque part, each with its share of it, 0 to 1.

    Their names differ; `hex` is the mean, in sRGB, of all colours that have the name.
    """
    rgba = image.convert("RGBA")
    rgba.thumbnail(_SAMPLE_SIZE, Image.Resampling.BOX)
    rgba = in_srgb(rgba, profile)
    mask = rgba.getchannel("A").point(lambda alpha: 255 if alpha >= _MIN_ALPHA else 0)
    opaque = mask.histogram()[255]
    if not opaque:
        return []
    palette = rgba.convert("RGB").quantize(_PALETTE_COLOURS, Image.Quantize.MEDIANCUT)
    flat = palette.getpalette() or []
    named: defaultdict[str, list[tuple[int, Colour]]] = defaultdict(list)
    for number, count in enumerate(palette.histogram(mask)):
        if count:
            colour = (flat[number * 3], flat[number * 3 + 1], flat[number * 3 + 2])
            named[colour_name(colour)].append((count, colour))
    groups = [_group(name, members, opaque) for name, members in named.items()]
    groups.sort(key=lambda group: -group["share"])
    return [group for group in groups[:_MAX_COLOURS] if group["share"] >= _MIN_SHARE]


def _group(name: str, members: list[tuple[int, Colour]], opaque: int) -> dict[str, Any]:
    pixels = sum(count for count, _ in members)
    mean = (round(sum(count * c[i] for count, c in members) / pixels) for i in range(3))
    return {
        "hex": "#{:02x}{:02x}{:02x}".format(*mean),
        "name": name,
        "share": round(pixels / opaque, 3),
    }


def colour_name(colour: Colour) -> str:
    """Return the everyday name of the colour, such as black, dark green or beige."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    if value < 0.15:
        return "black"
    if saturation < 0.13:
        return _grey(value)
    name = next(name for limit, name in _HUES if hue * 360 < limit)
    # Dark orange is called brown, and light red pink.
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
