"""Pixels in, mask out: the numbers that rembg's models were trained with."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from processor.models.manifest import ModelInput
from processor.operations.background.mask import (
    U2NET_INPUT,
    smoothed,
    to_mask,
    to_tensor,
    visible_box,
)


def plain(color: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> Image.Image:
    return Image.new("RGB", size, color)


def test_channels_are_divided_by_the_brightest_value_then_normalised() -> None:
    tensor = to_tensor(plain((200, 100, 50)), U2NET_INPUT)
    assert tensor.shape == (1, 3, 320, 320)
    assert tensor.dtype == np.float32
    expected = [(1.0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225]
    np.testing.assert_allclose(tensor[0, :, 7, 7], expected, rtol=1e-5)


def test_a_black_picture_is_no_division_by_zero() -> None:
    tensor = to_tensor(plain((0, 0, 0)), U2NET_INPUT)
    np.testing.assert_allclose(tensor[0, 0], -0.485 / 0.229, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_mode_becomes_three_channels(mode: str) -> None:
    assert to_tensor(plain((255, 255, 255)).convert(mode), U2NET_INPUT).shape == (1, 3, 320, 320)


def test_layout_channel_order_and_scale_follow_the_manifest() -> None:
    recipe = ModelInput(size=(8, 4), layout="nhwc", channels="bgr", scale="255")
    tensor = to_tensor(plain((255, 51, 0)), recipe)
    assert tensor.shape == (1, 4, 8, 3)
    np.testing.assert_allclose(tensor[0, 0, 0], [0, 0.2, 1], atol=1e-6)


def test_the_mask_spans_black_to_white_at_the_pictures_size() -> None:
    output = np.tile(np.linspace(3, 5, 10, dtype=np.float32), (1, 1, 10, 1))
    mask = to_mask(output, (20, 30))
    assert (mask.mode, mask.size) == ("L", (20, 30))
    assert mask.getextrema() == (0, 255)


def test_an_answer_that_is_the_same_everywhere_finds_nothing() -> None:
    assert to_mask(np.full((1, 1, 4, 4), 0.7), (9, 9)).getextrema() == (0, 0)


def test_an_output_that_is_no_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a mask"):
        to_mask(np.zeros(7), (9, 9))


def test_smoothing_removes_specks_and_leaves_black_and_white() -> None:
    mask = Image.new("L", (60, 60))
    mask.paste(200, (20, 20, 50, 50))
    mask.putpixel((5, 5), 255)
    smooth = smoothed(mask)
    assert set(np.unique(np.asarray(smooth))) == {0, 255}
    assert smooth.getpixel((5, 5)) == 0
    assert smooth.getpixel((35, 35)) == 255


def test_the_box_ignores_what_nobody_sees() -> None:
    mask = Image.new("L", (60, 40), 3)
    mask.paste(255, (10, 5, 30, 25))
    assert visible_box(mask) == (10, 5, 30, 25)
    assert visible_box(Image.new("L", (60, 40), 3)) is None
