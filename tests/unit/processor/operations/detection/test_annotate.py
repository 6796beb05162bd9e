"""Drawn predictions: on a copy, inside the picture, with labels that do not hide each other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from processor.operations.detection.annotate import (
    annotate,
    class_colour,
    label_place,
    readable_on,
)
from processor.operations.detection.detector import Prediction
from processor.operations.fonts import find_font

CUP = Prediction("cup", 41, 0.9, (40.0, 60.0, 160.0, 140.0))


def test_draws_on_a_copy_of_the_same_size():
    before = Image.new("RGB", (200, 200), "white")
    after = annotate(before, [CUP])

    assert before.getcolors() == [(200 * 200, (255, 255, 255))]
    assert after.size == before.size
    assert after.getpixel((100, 60)) == class_colour(41)
    assert after.getpixel((100, 100)) == (255, 255, 255)


def test_the_label_lies_above_its_box():
    white = Image.new("RGB", (200, 200), "white")
    changed = ImageChops.difference(white, annotate(white, [CUP])).getbbox()

    assert changed[0] == 40 and changed[1] < 60 and changed[3] <= 141


def test_names_in_other_alphabets_are_written_where_a_font_has_them():
    cup, toad = ("\u0447\u0430\u0448\u043a\u0430", "\u0436\u0430\u0431\u0430\u0439")
    one, other = (
        annotate(Image.new("RGB", (200, 200)), [replace(CUP, name=name)]) for name in (cup, toad)
    )
    _, lacking = find_font(cup + toad, 20)

    # Letters that are missing all look the same.
    assert (one.tobytes() != other.tobytes()) == (not lacking)


def test_transparency_survives():
    picture = annotate(Image.new("RGBA", (200, 200), (0, 0, 0, 0)), [CUP])

    assert picture.getpixel((100, 100)) == (0, 0, 0, 0)
    assert picture.getpixel((100, 60))[3] == 255


def test_grey_pictures_get_coloured_boxes():
    assert annotate(Image.new("L", (200, 200)), [CUP]).mode == "RGB"


@given(st.tuples(*[st.floats(0, 300)] * 2), st.tuples(*[st.floats(1, 100)] * 2))
def test_labels_stay_inside(corner, size):
    box = (*corner, 300.0, 300.0)
    x0, y0, x1, y1 = label_place(box, size, (300, 300), [])

    assert x0 >= 0 and y0 >= 0 and x1 <= 300.001 and y1 <= 300.001


def test_labels_of_boxes_with_one_corner_do_not_overlap():
    taken = []
    for _ in range(5):
        taken.append(label_place((10, 10, 200, 200), (80, 15), (300, 300), taken))

    assert len({place[1] for place in taken}) == 5


def test_neighbouring_classes_differ_and_text_has_contrast():
    colours = {class_colour(number) for number in range(80)}

    assert len(colours) == 80
    assert readable_on((255, 255, 0)) == (0, 0, 0)
    assert readable_on((90, 0, 160)) == (255, 255, 255)
