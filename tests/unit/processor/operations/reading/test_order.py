"""Lines come in the order in which a person reads them: rows, then columns of prose."""

from __future__ import annotations

import math
import random

import pytest

from processor.operations.reading.order import reading_order

HEIGHT = 20
# (left, top, text); a character is half as wide as it is high.
Placed = tuple[float, float, str]


def quad(left: float, top: float, text: str, slant: float = 0.0):
    right, bottom = left + len(text) * HEIGHT / 2, top + HEIGHT
    cosine, sine = math.cos(slant), math.sin(slant)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return tuple((x * cosine - y * sine, x * sine + y * cosine) for x, y in corners)


def ordered(lines: list[Placed], slant_degrees: float = 0.0) -> list[str]:
    shuffled = random.Random(5).sample(lines, len(lines))
    slant = math.radians(slant_degrees)
    quads = [quad(*line, slant) for line in shuffled]
    texts = [text for _, _, text in shuffled]
    return [texts[index] for index in reading_order(quads, texts)]


def column(left: float, texts: list[str], top: float = 100) -> list[Placed]:
    return [(left, top + 30 * number, text) for number, text in enumerate(texts)]


ONE = ["Grain prices rose on", "Monday after a dry", "summer in the north"]
TWO = ["The miller said that", "his stones had to be", "dressed again by him"]
THREE = ["Readers of our paper", "may send questions to", "the mill by the river"]
TITLE = "The daily mill: news of this week, and of the last one, for everyone"


def test_nothing_has_no_order() -> None:
    assert reading_order([], []) == []


def test_one_column_is_read_from_the_top() -> None:
    assert ordered(column(10, ONE)) == ONE


def test_two_columns_are_read_one_after_the_other() -> None:
    assert ordered([*column(10, ONE), *column(300, TWO)]) == [*ONE, *TWO]


def test_columns_whose_lines_are_not_level_are_read_one_after_the_other() -> None:
    assert ordered([*column(10, ONE), *column(300, TWO, top=88)]) == [*ONE, *TWO]


def test_three_columns() -> None:
    lines = [*column(10, ONE), *column(300, TWO), *column(600, THREE)]
    assert ordered(lines) == [*ONE, *TWO, *THREE]


@pytest.mark.parametrize("slant", [-8, 0, 4])
def test_a_title_over_columns_and_a_line_below_them(slant: float) -> None:
    end = "Printed in the old mill by the river for all readers of it"
    lines = [(10, 20, TITLE), *column(10, ONE), *column(300, TWO), (10, 240, end)]
    assert ordered(lines, slant) == [TITLE, *ONE, *TWO, end]


def test_the_rows_of_a_receipt_stay_together() -> None:
    items, prices = ["Coffee with milk", "Chocolate cake"], ["3.50", "4"]
    lines = [*column(10, items), *column(400, prices)]
    assert ordered(lines) == ["Coffee with milk", "3.50", "Chocolate cake", "4"]


def test_amounts_with_a_currency_stay_in_their_rows() -> None:
    items = ["Invoice total so far", "Reminder fee of May"]
    lines = [*column(10, items), *column(400, ["128.50 EUR", "1,000.00 EUR"])]
    assert ordered(lines) == [items[0], "128.50 EUR", items[1], "1,000.00 EUR"]


def test_the_rows_of_a_form_stay_together() -> None:
    labels = ["Name of the guest:", "Address in town:"]
    values = ["Anna Smith Miller", "Long street, Berlin"]
    lines = [*column(10, labels), *column(300, values)]
    assert ordered(lines) == [labels[0], values[0], labels[1], values[1]]


def test_words_of_one_row_are_read_from_the_left_though_they_are_not_quite_level() -> None:
    lines = [(200, 12, "second"), (10, 10, "First"), (400, 7, "third"), (10, 40, "Next row")]
    assert ordered(lines) == ["First", "second", "third", "Next row"]


def test_many_close_rows_do_not_run_together() -> None:
    lines = [(10 + 40 * (n % 2), 21 * n, f"Line number {n} of the page") for n in range(30)]
    assert ordered(lines) == [text for _, _, text in lines]
