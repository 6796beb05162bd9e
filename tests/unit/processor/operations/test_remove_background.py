"""What remove-background gives back for each option, with a model whose mask is the brightness."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imagemill.operations import OperationError, RunContext
from processor.models.loader import ModelLoader
from processor.operations.background.mask import U2NET_INPUT
from schemas.errors import ErrorCode
from schemas.params.remove_background import RemoveBackgroundParams
from tests.support.cutouts import (
    DATA,
    INSIDE,
    OUTSIDE,
    SIZE,
    SUBJECT,
    brightness_loader,
    fresh_context,
    picture,
    pixels,
    result,
)
from tests.support.models import brightness_entry, brightness_model, install


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelLoader:
    return brightness_loader(tmp_path_factory.mktemp("models"))


@pytest.fixture
def context(models: ModelLoader) -> RunContext:
    return fresh_context(models)


def test_the_subject_stays_and_the_rest_is_transparent(context: RunContext) -> None:
    output = result(context)
    image = pixels(output)
    assert (image.mode, image.size) == ("RGBA", SIZE)
    assert image.getpixel(INSIDE) == (255, 250, 200, 255)
    assert image.getpixel(OUTSIDE) == (0, 0, 0, 0)
    assert output.encode.format == "png"


def test_the_model_is_reported(context: RunContext) -> None:
    result(context)
    [used] = context.used_models
    assert (used.name, used.sha256) == ("brightness", brightness_entry(DATA).sha256[0])


def test_a_model_gets_the_size_that_its_file_fixes_and_else_its_familys_way(
    tmp_path: Path,
) -> None:
    data = brightness_model(48)
    entry = brightness_entry(data, input={"size": (32, 32)})
    session = ModelLoader(install(tmp_path, data, entry)).session("brightness")
    assert session.recipe(U2NET_INPUT) == U2NET_INPUT.model_copy(update={"size": (48, 48)})


def test_hidden_colours_are_kept_on_request(context: RunContext) -> None:
    assert pixels(result(context, keep_hidden_colors=True)).getpixel(OUTSIDE) == (0, 0, 30, 0)


def test_the_given_picture_is_not_changed(context: RunContext) -> None:
    for mode in ("RGB", "RGBA"):
        image = picture(mode)
        result(context, image)
        assert image.tobytes() == picture(mode).tobytes()


def test_what_was_transparent_stays_so(context: RunContext) -> None:
    image = picture("RGBA")
    image.putalpha(128)
    assert pixels(result(context, image)).getpixel(INSIDE)[3] == 128


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1"])
def test_every_mode_is_cut_out(context: RunContext, mode: str) -> None:
    image = pixels(result(context, picture(mode)))
    assert image.mode == "RGBA"
    assert image.getpixel(INSIDE)[3] > 200 > 50 > image.getpixel(OUTSIDE)[3]


def test_only_mask_gives_the_mask(context: RunContext) -> None:
    output = result(context, only_mask=True)
    image = pixels(output)
    assert (image.mode, image.size) == ("L", SIZE)
    assert (image.getpixel(INSIDE), image.getpixel(OUTSIDE)) == (255, 0)
    assert output.encode.strip_metadata


def test_post_processing_leaves_no_half_transparency(context: RunContext) -> None:
    alpha = pixels(result(context, post_process_mask=True)).getchannel("A")
    assert set(np.unique(np.asarray(alpha))) == {0, 255}


def test_a_background_colour_is_put_behind(context: RunContext) -> None:
    image = pixels(result(context, background_color="#0f0"))
    assert image.getpixel(OUTSIDE) == (0, 255, 0, 255)
    assert image.getpixel(INSIDE) == (255, 250, 200, 255)


def test_a_background_colour_may_be_half_transparent(context: RunContext) -> None:
    image = pixels(result(context, background_color=[0, 255, 0, 100]))
    assert image.getpixel(OUTSIDE) == (0, 255, 0, 100)


def test_cropping_cuts_to_the_subject_and_says_where(context: RunContext) -> None:
    output = result(context, crop=True)
    assert output.data is not None
    crop = output.data["crop"]
    assert pixels(output).size == (crop["width"], crop["height"])
    # The mask is made at 32 pixels, so its edge is some pixels wide.
    assert crop["x"] == pytest.approx(SUBJECT[0], abs=6)
    assert crop["y"] == pytest.approx(SUBJECT[1], abs=6)
    assert crop["width"] == pytest.approx(48, abs=12)


@pytest.mark.parametrize(
    "options",
    [{}, {"decontaminate": True}, {"keep_hidden_colors": True}, {"format": "webp"}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_cropping_a_partly_clear_picture_cuts_to_what_is_visible(
    context: RunContext, options: dict[str, object]
) -> None:
    image = picture().convert("RGBA")
    middle = (SUBJECT[0] + SUBJECT[2]) // 2
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, middle, image.height))
    image.putalpha(alpha)
    whole = pixels(result(context, image, **options))
    output = result(context, image, crop=True, **options)
    box = whole.getchannel("A").point(lambda value: 255 if value >= 10 else 0).getbbox()
    assert box is not None
    assert box[0] == middle
    assert output.data == {
        "crop": {"x": box[0], "y": box[1], "width": box[2] - box[0], "height": box[3] - box[1]}
    }
    cropped = pixels(output)
    assert cropped.getchannel("A").getbbox() == (0, 0, *cropped.size)


def test_the_mask_of_a_partly_clear_picture_is_cropped_like_its_cutout(context: RunContext) -> None:
    image = picture().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, (SUBJECT[0] + SUBJECT[2]) // 2, image.height))
    image.putalpha(alpha)
    cutout = result(context, image, crop=True)
    mask = result(context, image, crop=True, only_mask=True)
    assert mask.data == cutout.data
    assert pixels(mask).size == pixels(cutout).size


def test_a_mask_is_the_models_whatever_matting_is_asked_for(context: RunContext) -> None:
    """As in rembg: matting changes the cut-out's alpha, and the mask is given before that."""
    plain = pixels(result(context, only_mask=True))
    asked = result(context, only_mask=True, alpha_matting=True)
    assert pixels(asked).tobytes() == plain.tobytes()
    assert asked.encode.is_mask


def test_cropping_a_picture_without_subject_leaves_it_whole(context: RunContext) -> None:
    output = result(context, Image.new("RGB", SIZE), crop=True)
    assert pixels(output).size == SIZE
    assert output.data == {"crop": {"x": 0, "y": 0, "width": 96, "height": 64}}


def test_jpeg_has_white_behind_the_subject(context: RunContext) -> None:
    output = result(context, format="jpeg", quality=80)
    image = pixels(output)
    assert image.mode == "RGB"
    assert image.getpixel(OUTSIDE) == (255, 255, 255)
    assert (output.encode.format, output.encode.quality) == ("jpeg", 80)


def test_jpeg_with_a_colour_has_that_behind(context: RunContext) -> None:
    image = pixels(result(context, format="jpeg", background_color="#112233"))
    assert image.getpixel(OUTSIDE) == (0x11, 0x22, 0x33)


def test_a_model_that_is_no_remover_is_refused(context: RunContext) -> None:
    with pytest.raises(OperationError, match="no remove-background model") as caught:
        result(context, model="yolov5n")
    assert caught.value.error.code is ErrorCode.PARAMS_INVALID


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"background_color": "green"}, "background_color"),
        ({"background_color": "#12345"}, "background_color"),
        ({"background_color": [1, 2]}, "background_color"),
        ({"background_color": [1, 2, 256]}, "background_color"),
        ({"background_color": [1, 2, 3.5]}, "background_color"),
        ({"alpha_matting_foreground_threshold": 256}, "alpha_matting_foreground_threshold"),
        ({"alpha_matting_background_threshold": -1}, "alpha_matting_background_threshold"),
        ({"alpha_matting_background_threshold": 240}, "alpha_matting_background_threshold"),
        ({"alpha_matting_foreground_threshold": 10}, "alpha_matting_background_threshold"),
        ({"alpha_matting_erode_size": 101}, "alpha_matting_erode_size"),
        ({"format": "gif"}, "format"),
        ({"format": "webp", "quality": 0}, "quality"),
        ({"quality": 80}, "quality"),
        ({"precision": "slow"}, "precision"),
        ({"model": "../u2netp"}, "model"),
        ({"bgcolor": "#fff"}, "bgcolor"),
    ],
)
def test_bad_params_are_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RemoveBackgroundParams.model_validate(options)
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


@pytest.mark.parametrize(
    ("given", "color"),
    [
        ("#fff", (255, 255, 255, 255)),
        ("0f08", (0, 255, 0, 136)),
        ("#102030", (16, 32, 48, 255)),
        ("#10203040", (16, 32, 48, 64)),
        ([1, 2, 3], (1, 2, 3, 255)),
        ([1, 2, 3, 4], (1, 2, 3, 4)),
    ],
)
def test_colours_are_read_in_every_notation(given: object, color: tuple[int, ...]) -> None:
    params = RemoveBackgroundParams.model_validate({"background_color": given})
    assert params.background_color == color
    assert RemoveBackgroundParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize("digits", range(1, 10))
def test_the_schema_and_the_check_take_the_same_colours(digits: int) -> None:
    field = RemoveBackgroundParams.model_json_schema()["properties"]["background_color"]
    [pattern] = re.findall(r"'pattern': '([^']+)'", str(field))
    given = {"background_color": "#" + "a" * digits}
    try:
        RemoveBackgroundParams.model_validate(given)
    except ValidationError:
        assert not re.search(pattern, given["background_color"])
    else:
        assert re.search(pattern, given["background_color"])


def test_the_schema_can_be_shown_to_users() -> None:
    schema = RemoveBackgroundParams.model_json_schema()
    assert set(schema["properties"]) == set(RemoveBackgroundParams.model_fields)
    assert all(field.get("description") for field in schema["properties"].values())
