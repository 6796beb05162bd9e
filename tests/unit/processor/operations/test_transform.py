"""transform: each step makes the picture a person has looked at; bad steps name their field."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imagemill.images.check import ImageLimits
from imagemill.operations import OperationError, RunContext, SourceInfo
from processor.imaging.decoding import decode
from processor.imaging.encoding import encode
from processor.operations.transform import run, wanted_size
from schemas.catalog import find_operation
from schemas.errors import ErrorCode
from schemas.params.transform import TransformParams
from tests.unit.processor.operations.transform_cases import (
    CASES,
    GOLDEN,
    card,
    cutout,
    made,
    transformed,
)

# Small differences between Pillow's versions and processors do not count.
MEAN_DIFFERENCE = 0.5
LARGEST_DIFFERENCE = 24


def visible(image: Image.Image) -> np.ndarray:
    """The picture's colours multiplied by alpha, and alpha: what can be seen of it."""
    return np.asarray(image.convert("RGBA").convert("RGBa"), dtype=np.int16)


def params(*steps: dict[str, Any], **others: Any) -> TransformParams:
    return TransformParams.model_validate({"steps": steps, **others})


def refused(*steps: dict[str, Any], image: Image.Image | None = None, **others: Any) -> str:
    with pytest.raises(OperationError) as caught:
        transformed(image or card(), steps=steps, **others)
    return f"{caught.value.error.code}: {caught.value.error.message}"


@pytest.mark.parametrize("name", CASES)
def test_a_step_makes_its_golden_picture(name: str) -> None:
    with Image.open(GOLDEN / f"{name}.png") as golden:
        golden.load()
    picture = made(name)
    assert (picture.size, picture.mode) == (golden.size, golden.mode)
    difference = np.abs(visible(picture) - visible(golden))
    assert difference.mean() <= MEAN_DIFFERENCE
    assert difference.max() <= LARGEST_DIFFERENCE


@pytest.mark.parametrize(
    ("degrees", "turn"),
    [
        (180, Image.Transpose.ROTATE_180),
        (270, Image.Transpose.ROTATE_90),
        (-90, Image.Transpose.ROTATE_90),
    ],
)
@pytest.mark.parametrize("picture", [card, cutout])
def test_quarter_turns_move_pixels_and_change_none(
    picture: Any, degrees: float, turn: Image.Transpose
) -> None:
    turned = transformed(picture(), steps=[{"do": "rotate", "degrees": degrees}]).image
    wanted = picture().transpose(turn)
    assert (turned.mode, turned.size) == (wanted.mode, wanted.size)
    assert turned.tobytes() == wanted.tobytes()


def test_every_golden_picture_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.png")} == set(CASES)


@pytest.mark.parametrize(
    ("step", "size"),
    [
        ({"width": 40}, (40, 30)),
        ({"height": 40}, (53, 40)),
        ({"width": 40, "height": 40}, (40, 30)),
        ({"width": 400}, (80, 60)),
        ({"width": 400, "enlarge": True}, (400, 300)),
        ({"width": 1}, (1, 1)),
        ({"width": 50, "height": 50, "mode": "fill"}, (50, 50)),
        ({"width": 70, "height": 200, "mode": "fill"}, (70, 60)),
        ({"width": 70, "height": 200, "mode": "fill", "enlarge": True}, (70, 200)),
        ({"width": 100, "height": 100, "mode": "exact"}, (100, 100)),
    ],
)
def test_resize_gives_the_size_that_its_mode_promises(step: dict, size: tuple) -> None:
    assert transformed(card(), steps=[{"do": "resize", **step}]).image.size == size


def test_a_blur_spreads_no_invisible_colour() -> None:
    image = Image.new("RGBA", (40, 40), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (10, 10, 30, 30))
    blurred = np.asarray(transformed(image, steps=[{"do": "blur", "sigma": 4}]).image)
    shown = blurred[..., 3] > 24
    assert shown.sum() > 400
    assert blurred[..., 1][shown].max() < 12


def test_steps_leave_the_picture_they_are_given_alone() -> None:
    for image in (card(), cutout()):
        before = image.tobytes()
        for step in ({"do": "watermark", "text": "mill"}, {"do": "background", "color": "#f00"}):
            transformed(image, steps=[step])
        assert image.tobytes() == before


def test_no_step_converts_the_format_only() -> None:
    output = transformed(card(), format="webp", quality=70)
    assert output.image.tobytes() == card().tobytes()
    assert (output.encode.format, output.encode.quality) == ("webp", 70)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"steps": [{"do": "melt"}]}, "steps.0"),
        ({"steps": [{"grayscale": True}]}, "steps.0"),
        ({"steps": [{"do": "grayscale", "strength": 3}]}, "steps.0.grayscale.strength"),
        ({"steps": [{"do": "resize"}]}, "steps.0.resize"),
        ({"steps": [{"do": "resize", "width": 0}]}, "steps.0.resize.width"),
        ({"steps": [{"do": "resize", "width": 5, "mode": "fill"}]}, "steps.0.resize"),
        ({"steps": [{"do": "flip"}, {"do": "blur", "sigma": -1}]}, "steps.1.blur.sigma"),
        ({"steps": [{"do": "rotate", "degrees": "nan"}]}, "steps.0.rotate.degrees"),
        ({"steps": [{"do": "crop", "width": 5, "height": 5, "x": 1}]}, "steps.0.crop"),
        ({"steps": [{"do": "pad"}]}, "steps.0.pad"),
        ({"steps": [{"do": "background", "color": "reddish"}]}, "steps.0.background.color"),
        ({"steps": [{"do": "watermark", "text": "  "}]}, "steps.0.watermark.text"),
        ({"steps": [{"do": "flip"}] * 21}, "steps"),
        ({"format": "heic"}, "format"),
        ({"quality": 0}, "quality"),
        ({"format": "png", "quality": 80}, "quality"),
        ({"stepz": []}, "stepz"),
    ],
)
def test_bad_params_are_refused_by_the_name_of_their_field(given: dict, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TransformParams.model_validate(given)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == field


@pytest.mark.parametrize(
    "step",
    [
        {"do": "resize", "width": 200, "enlarge": True},
        {"do": "resize", "width": 101, "height": 100, "mode": "exact"},
        {"do": "rotate", "degrees": 45},
        {"do": "pad", "left": 100},
        {"do": "extend", "width": 200, "height": 10},
    ],
)
def test_a_result_over_the_pixel_limit_is_refused_before_it_is_made(step: dict) -> None:
    message = refused({"do": "flip"}, step, max_pixels=9_000)
    assert message.startswith(f"image_too_large: steps.1.{step['do']}: The result is ")


def test_a_crop_outside_the_picture_says_how_large_the_picture_is() -> None:
    message = refused({"do": "crop", "x": 90, "y": 0, "width": 5, "height": 5})
    assert message.startswith("params_invalid: steps.0.crop: ")
    assert "80 x 60" in message


def test_letters_that_no_font_has_are_refused() -> None:
    message = refused({"do": "watermark", "text": "mill \U00013000"})
    assert message.startswith("params_invalid: steps.0.watermark: No font of this worker")
    assert "'\\U00013000'" in message


def test_a_watermark_over_the_pixel_limit_is_refused_before_it_is_made() -> None:
    message = refused({"do": "watermark", "text": "W" * 200, "size": 2000}, max_pixels=50_000_000)
    assert message.startswith("image_too_large: steps.0.watermark: The text is ")


def test_many_small_watermarks_cost_little() -> None:
    step = {"do": "watermark", "text": ".", "size": 4, "margin": 0, "tile": True, "opacity": 1}
    began = time.process_time()
    image = transformed(Image.new("L", (1500, 1500)), 10**7, steps=[step]).image
    assert time.process_time() - began < 1
    dots = np.asarray(image) > 0
    # A third of the rows and columns at most, and none of their ends is left out.
    assert dots[:20, :20].any() and dots[-20:, -20:].any() and dots.mean() < 0.15


def test_a_watermark_larger_than_the_picture_is_cut_off() -> None:
    step = {"do": "watermark", "text": "imagemill", "size": 200, "gravity": "center"}
    assert transformed(card(), steps=[step]).image.size == (80, 60)


def photo(width: int, height: int) -> Image.Image:
    return card().resize((width, height), Image.Resampling.BICUBIC)


def through_a_jpeg(image: Image.Image, asked: TransformParams, orientation: int = 1) -> Any:
    """Decode, transform and encode a JPEG; also the size that it was decoded at."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif)
    decoded, source = decode(file, None, ImageLimits(), lambda size: wanted_size(asked, size))
    output = run(decoded, asked, RunContext(None, source, 50_000_000))
    return output.image, decoded.size


@pytest.mark.parametrize(
    ("step", "decoded", "size"),
    [
        ({"width": 100}, (251, 189), (100, 75)),
        ({"width": 100, "height": 100, "mode": "exact"}, (501, 377), (100, 100)),
        ({"width": 60, "height": 60, "mode": "fill"}, (251, 189), (60, 60)),
        ({"width": 600}, (2001, 1507), (600, 452)),
    ],
)
def test_a_jpeg_is_decoded_small_for_a_small_result(step: dict, decoded: Any, size: Any) -> None:
    image = photo(2001, 1507)
    asked = params({"do": "grayscale"}, {"do": "resize", **step})
    result, decoded_size = through_a_jpeg(image, asked)
    whole = transformed(image, 50_000_000, steps=asked.model_dump()["steps"]).image
    assert decoded_size == decoded
    assert result.size == whole.size == size
    assert np.abs(np.asarray(result, int) - np.asarray(whole, int)).mean() < 1.5


def test_a_sideways_jpeg_is_decoded_small_and_upright() -> None:
    result, decoded_size = through_a_jpeg(
        photo(1600, 1200), params({"do": "resize", "width": 100}), orientation=6
    )
    assert decoded_size == (300, 400)
    assert result.size == (100, 133)
    # The red square of the top left corner is at the top right after a quarter turn.
    assert result.getpixel((80, 20))[0] > 180


def test_pixels_that_a_crop_counts_are_not_shrunk_before_it() -> None:
    asked = params(
        {"do": "crop", "x": 0, "y": 0, "width": 100, "height": 100}, {"do": "resize", "width": 50}
    )
    _, decoded_size = through_a_jpeg(photo(1600, 1200), asked)
    assert decoded_size == (1600, 1200)


def test_an_exact_half_of_a_source_in_a_pipeline_is_resized_as_itself() -> None:
    source = SourceInfo("jpeg", (800, 600), bytes=1)
    context = RunContext(None, source, 50_000_000)
    result = run(photo(400, 300), params({"do": "resize", "width": 350}), context).image
    assert result.size == (350, 262)


@pytest.mark.parametrize("name", ["png", "webp", "jpeg", "avif", "gif", "tiff", "bmp"])
@pytest.mark.parametrize("picture", [card, cutout])
def test_every_format_that_can_be_asked_for_is_written(name: str, picture: Any) -> None:
    source = SourceInfo("png", (80, 60), bytes=1)
    for steps in ((), ({"do": "grayscale"},)):
        output = transformed(picture(), steps=steps, format=name)
        data, written = encode(output.image, output.encode, source)
        with Image.open(io.BytesIO(data)) as image:
            assert (written, image.format.lower(), image.size) == (name, name, (80, 60))


def test_transform_is_an_operation_with_a_schema_that_lists_its_steps() -> None:
    schema = find_operation("transform").params.model_json_schema()
    steps = schema["properties"]["steps"]["items"]["discriminator"]["mapping"]
    assert {"resize", "crop", "rotate", "watermark"} <= set(steps)


def test_a_result_that_is_too_large_keeps_its_code() -> None:
    with pytest.raises(OperationError) as caught:
        transformed(card(), 5000, steps=[{"do": "pad", "left": 60}])
    assert caught.value.error.code is ErrorCode.IMAGE_TOO_LARGE
