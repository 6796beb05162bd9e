"""The direction of most of the text says how a page is turned."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from processor.operations.reading.turned_page import turn_of, turned_back, upright

WIDE = [(10, 10), (210, 10), (210, 30), (10, 30)]
TALL = [(10, 10), (30, 10), (30, 210), (10, 210)]
SHORT = [(10, 10), (40, 10), (40, 30), (10, 30)]


@pytest.mark.parametrize(
    ("boxes", "flipped", "turn"),
    [
        ([WIDE, WIDE], [False, False], 0),
        ([WIDE, WIDE], [True, True], 180),
        ([TALL, TALL], [False, False], 90),
        ([TALL, TALL], [True, True], 270),
        # A caption on its side, and a short line that is taken for upside down.
        ([WIDE, WIDE, TALL], [False, False, True], 0),
        ([WIDE, SHORT], [False, True], 0),
        ([WIDE, SHORT], [True, False], 180),
    ],
)
def test_the_longer_text_decides(boxes: list, flipped: list[bool], turn: int) -> None:
    assert turn_of(np.array(boxes, np.float32), flipped) == turn


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_points_of_the_upright_picture_are_found_again(turn: int) -> None:
    image = Image.new("L", (30, 20))
    image.putpixel((4, 7), 255)
    left, top, right, bottom = upright(image, turn).getbbox()
    corners = [turned_back(corner, turn, image.size) for corner in ((left, top), (right, bottom))]
    assert {x for x, _ in corners} == {4, 5}
    assert {y for _, y in corners} == {7, 8}
