"""Pictures go into the detector as it wants them, and boxes come back to where they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from processor.operations.detection.letterbox import InputRecipe, prepare

SIDES = st.integers(1, 900)


@settings(max_examples=60)
@given(width=SIDES, height=SIDES, fit=st.sampled_from(["center", "corner", "stretch"]))
def test_the_whole_picture_comes_back_as_itself(width, height, fit):
    recipe = InputRecipe(320, 256, fit=fit)
    tensor, placement = prepare(Image.new("RGB", (width, height)), recipe)
    x, y = placement.offset
    corners = np.array([[x, y, x + width * placement.scale[0], y + height * placement.scale[1]]])

    assert tensor.shape == (1, 3, 256, 320)
    assert placement.to_source(corners) == pytest.approx(np.array([[0, 0, width, height]]))
    assert corners.min() >= 0 and corners[0, 2] <= 320.001 and corners[0, 3] <= 256.001


@pytest.mark.parametrize(("fit", "top"), [("center", 40), ("corner", 0)])
def test_padding_is_grey_and_lies_where_the_family_has_it(fit, top):
    red = Image.new("RGB", (160, 80), "red")
    tensor, _ = prepare(red, InputRecipe(160, 160, fit=fit, layout="NHWC", span=255.0))

    is_red = (tensor[0] == [255, 0, 0]).all(axis=2)
    assert is_red[top : top + 80].all()
    assert (tensor[0][~is_red] == 114).all()


def test_channels_range_and_normalisation_follow_the_recipe():
    orange = Image.new("RGB", (8, 8), (255, 102, 0))
    bgr, _ = prepare(orange, InputRecipe(8, 8, channels="BGR", span=255.0))
    normal, _ = prepare(orange, InputRecipe(8, 8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    raw, _ = prepare(orange, InputRecipe(8, 8, layout="NHWC", dtype="uint8", span=255.0))

    assert bgr[0, :, 0, 0].tolist() == [0, 102, 255]
    assert normal[0, :, 0, 0] == pytest.approx([1.0, -0.2, -1.0])
    assert raw.dtype == np.uint8 and raw[0, 0, 0].tolist() == [255, 102, 0]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "CMYK", "1"])
def test_every_picture_mode_is_taken(mode):
    tensor, _ = prepare(Image.new(mode, (30, 20)), InputRecipe(32, 32))

    assert tensor.shape == (1, 3, 32, 32)


def test_transparent_parts_are_grey():
    tensor, _ = prepare(
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)), InputRecipe(8, 8, layout="NHWC", span=255.0)
    )

    assert (tensor == 114).all()
