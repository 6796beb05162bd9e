"""A transparent picture is laid on a ground that no visible colour is near to."""

from __future__ import annotations

import pytest
from PIL import Image

from processor.operations.reading.ground import on_readable_ground

CLEAR, INK = (2, 2), (50, 50)


def picture(*inks: tuple[int, ...], hidden: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Squares of these colours on a clear ground whose hidden colour is another."""
    image = Image.new("RGBA", (40 + 40 * len(inks), 100), (*hidden, 0))
    for number, ink in enumerate(inks):
        image.paste(ink, (40 + 40 * number, 40, 60 + 40 * number, 60))
    return image


@pytest.mark.parametrize("hidden", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ((255, 255, 255, 255), 0),
        ((255, 255, 0, 255), 0),
        ((0, 0, 0, 255), 255),
        ((200, 0, 0, 255), 255),
        ((0, 0, 0, 100), 255),
    ],
)
def test_the_ground_is_dark_behind_bright_text_and_bright_behind_dark(
    ink: tuple[int, ...], ground: int, hidden: tuple[int, int, int]
) -> None:
    shown = on_readable_ground(picture(ink, hidden=hidden))
    assert shown.mode == "RGB"
    assert shown.getpixel(CLEAR) == (ground,) * 3


def test_the_ground_is_grey_behind_text_both_white_and_black() -> None:
    shown = on_readable_ground(picture((255, 255, 255, 255), (0, 0, 0, 255)))
    assert shown.getpixel(CLEAR) == (128, 128, 128)


def test_nothing_visible_is_white() -> None:
    assert on_readable_ground(Image.new("RGBA", (4, 4))).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_opaque_pictures_stay_as_they_are(mode: str) -> None:
    image = Image.radial_gradient("L").convert(mode)
    assert on_readable_ground(image).tobytes() == image.convert("RGB").tobytes()
    clear = image.copy()
    clear.putalpha(255)
    assert on_readable_ground(clear).tobytes() == image.convert("RGB").tobytes()
