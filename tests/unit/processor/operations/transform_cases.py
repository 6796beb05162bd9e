"""Golden pictures of transform's steps: the source picture and the steps of each.

`python -m tests.unit.processor.operations.transform_cases` writes all of them: look at each before
you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from imagemill.operations import Output, RunContext, SourceInfo
from processor.operations.transform import run
from schemas.params.transform import TransformParams

GOLDEN = Path(__file__).parent / "golden"

ORANGE = "#ff8800"

# By the golden picture's name: its source in CARDS, and the steps.
CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "grayscale": ("card", [{"do": "grayscale"}]),
    "grayscale-alpha": ("cutout", [{"do": "grayscale"}]),
    "resize-fit": ("card", [{"do": "resize", "width": 40, "height": 40}]),
    "resize-fit-alpha": ("cutout", [{"do": "resize", "width": 40}]),
    "resize-fill": ("card", [{"do": "resize", "width": 30, "height": 40, "mode": "fill"}]),
    "resize-fill-west": (
        "card",
        [{"do": "resize", "width": 30, "height": 40, "mode": "fill", "gravity": "west"}],
    ),
    "resize-exact": ("card", [{"do": "resize", "width": 100, "height": 40, "mode": "exact"}]),
    "resize-enlarge": ("card", [{"do": "resize", "width": 120, "enlarge": True}]),
    "crop": ("card", [{"do": "crop", "x": 40, "y": 4, "width": 30, "height": 24}]),
    "crop-south-west": (
        "card",
        [{"do": "crop", "width": 32, "height": 24, "gravity": "south_west"}],
    ),
    "rotate-90": ("card", [{"do": "rotate", "degrees": 90}]),
    "rotate-30": ("card", [{"do": "rotate", "degrees": 30}]),
    "rotate-30-orange": ("card", [{"do": "rotate", "degrees": 30, "background": ORANGE}]),
    "rotate-minus-10-alpha": ("cutout", [{"do": "rotate", "degrees": -10}]),
    "flip-horizontal": ("card", [{"do": "flip"}]),
    "flip-vertical": ("card", [{"do": "flip", "axis": "vertical"}]),
    "flip-both": ("card", [{"do": "flip", "axis": "both"}]),
    "blur": ("card", [{"do": "blur", "sigma": 2}]),
    "blur-alpha": ("cutout", [{"do": "blur", "sigma": 3}, {"do": "background", "color": "#fff"}]),
    "sharpen": ("card", [{"do": "blur", "sigma": 1}, {"do": "sharpen", "sigma": 2}]),
    "sharpen-alpha": ("cutout", [{"do": "sharpen", "sigma": 2, "amount": 200}]),
    "pad": ("card", [{"do": "pad", "left": 8, "top": 4, "color": ORANGE}]),
    "pad-transparent": ("card", [{"do": "pad", "right": 12, "bottom": 12}]),
    "extend-north": (
        "card",
        [{"do": "extend", "width": 90, "height": 70, "gravity": "north", "color": ORANGE}],
    ),
    "extend-grey": (
        "card",
        [{"do": "grayscale"}, {"do": "extend", "width": 90, "height": 70, "color": ORANGE}],
    ),
    "background": ("cutout", [{"do": "background", "color": ORANGE}]),
    "background-half": ("cutout", [{"do": "background", "color": "#ff880080"}]),
    "watermark": ("card", [{"do": "watermark", "text": "mill", "size": 18, "margin": 4}]),
    "watermark-colour-on-grey": (
        "card",
        [
            {"do": "grayscale"},
            {
                "do": "watermark",
                "text": "mill",
                "size": 24,
                "gravity": "center",
                "color": ORANGE,
                "opacity": 1,
            },
        ],
    ),
    "watermark-alpha": ("cutout", [{"do": "watermark", "text": "mill", "size": 24, "opacity": 1}]),
    "watermark-tiled": ("card", [{"do": "watermark", "text": "mill", "size": 8, "tile": True}]),
    "several": (
        "card",
        [
            {"do": "resize", "width": 48, "height": 48, "mode": "fill", "gravity": "east"},
            {"do": "rotate", "degrees": 90},
            {"do": "grayscale"},
            {"do": "pad", "top": 4, "right": 4, "bottom": 4, "left": 4, "color": "#000"},
        ],
    ),
}


def card() -> Image.Image:
    """A picture of 80 x 60 pixels without symmetry, so that a wrong rotation or mirror shows."""
    across = Image.linear_gradient("L").rotate(90).resize((80, 60))
    down = Image.linear_gradient("L").resize((80, 60))
    image = Image.merge("RGB", (across, down, Image.new("L", (80, 60), 160)))
    draw = ImageDraw.Draw(image)
    draw.rectangle((6, 6, 24, 20), fill=(210, 30, 30))
    draw.ellipse((50, 8, 72, 30), fill=(20, 150, 60), outline="white", width=2)
    draw.polygon(((8, 54), (20, 32), (36, 54)), fill=(40, 60, 200))
    draw.line((44, 54, 76, 36), fill="black", width=3)
    return image


def cutout() -> Image.Image:
    """The middle of `card` with a soft edge; its fully transparent pixels are bright green."""
    mask = Image.radial_gradient("L").resize((80, 60)).point(lambda far: max(0, 340 - 3 * far))
    image = Image.composite(card(), Image.new("RGB", (80, 60), (0, 255, 0)), mask.point(bool, "1"))
    image.putalpha(mask)
    return image


CARDS = {"card": card, "cutout": cutout}


def transformed(image: Image.Image, max_pixels: int = 1_000_000, **params: Any) -> Output:
    """Run transform on a picture with params as a client sends them."""
    context = RunContext(None, SourceInfo("png", image.size, bytes=1), max_pixels)
    return run(image, TransformParams.model_validate(params), context)


def made(name: str) -> Image.Image:
    """Run the steps of a case on its source picture."""
    source, steps = CASES[name]
    image = transformed(CARDS[source](), steps=steps).image
    assert image is not None
    return image


def main() -> None:
    """Write every golden picture."""
    GOLDEN.mkdir(exist_ok=True)
    for name in CASES:
        made(name).save(GOLDEN / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
