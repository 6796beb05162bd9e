"""Draw predictions on a picture: boxes in a colour per class, with readable labels."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from processor.operations.detection.detector import Prediction
from processor.operations.fonts import find_font

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

# Steps of the golden ratio keep the hues of neighbouring class ids far apart.
_HUE_STEP = 0.618034


@dataclass(frozen=True)
class Style:
    """Sizes in pixels of what is drawn on one picture."""

    line: int
    text: int
    padding: int

    @classmethod
    def for_size(cls, size: tuple[int, int]) -> Style:
        """Return sizes in proportion to the picture, with a readable minimum."""
        side = min(size)
        return cls(
            line=max(2, round(side / 200)),
            text=max(14, round(side / 28)),
            padding=max(2, round(side / 200)),
        )


def annotate(image: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    """Return a copy of the picture with every prediction drawn, the most confident on top."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    picture = image.convert(mode)
    draw = ImageDraw.Draw(picture)
    style = Style.for_size(picture.size)
    font, _ = find_font("".join(prediction.name for prediction in predictions), style.text)
    for prediction in reversed(predictions):
        draw.rectangle(prediction.box, outline=class_colour(prediction.class_id), width=style.line)
    taken: list[Box] = []
    for prediction in predictions:
        text = f"{prediction.name} {prediction.confidence:.0%}"
        bounds = draw.textbbox((0, 0), text, font=font)
        size = (
            bounds[2] - bounds[0] + 2 * style.padding,
            bounds[3] - bounds[1] + 2 * style.padding,
        )
        place = label_place(prediction.box, size, picture.size, taken)
        taken.append(place)
        colour = class_colour(prediction.class_id)
        draw.rectangle(place, fill=colour)
        corner = (place[0] + style.padding - bounds[0], place[1] + style.padding - bounds[1])
        draw.text(corner, text, font=font, fill=readable_on(colour))
    return picture


def class_colour(class_id: int) -> Colour:
    """Return the colour of a class, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * _HUE_STEP % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def readable_on(colour: Colour) -> Colour:
    """Return black or white, whichever has more contrast by WCAG's relative luminance."""
    red, green, blue = (_linear(value / 255) for value in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def label_place(
    box: Box, size: tuple[float, float], picture: tuple[int, int], taken: Sequence[Box]
) -> Box:
    """Place a label of that size above its box, inside the picture and off other labels.

    If no place is free it covers another label rather than leave the picture.
    """
    width, height = size
    x = max(0.0, min(box[0], picture[0] - width))
    above = box[1] - height
    first = above if above >= 0 else box[1]
    steps = [first, box[1], *(box[1] + n * height for n in range(1, 12)), box[3]]
    inside = [y for y in steps if 0 <= y <= picture[1] - height] or [0.0]
    places = [(x, y, x + width, y + height) for y in inside]
    free = (place for place in places if not any(_touch(place, other) for other in taken))
    return next(free, places[0])


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
