"""Finding a text among recognised lines, against a slow definition and on what OCR gets wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.operations.reading.find import Span, find_text

LINES = ["Invoice No. 4711-B", "Total amount due: 128.50 EUR", "Thank you for your order"]


def places(wanted: str, lines: list[str] = LINES, least: float = 0.7):
    return [(match.spans, match.similarity) for match in find_text(wanted, lines, least)]


def test_case_spaces_and_width_do_not_matter():
    expected = [((Span(1, 0, 16),), 1.0)]

    assert places("TOTAL  amount\ndue") == expected
    assert places("totalamountdue") == expected
    assert places("\uff34\uff4f\uff54\uff41\uff4c amount due") == expected


def test_a_misread_character_lowers_similarity():
    ((spans, similarity),) = places("invoice", ["1nvoice"])

    assert spans == (Span(0, 0, 7),)
    assert similarity == pytest.approx(1 - 1 / 7, abs=1e-3)


def test_a_text_may_go_over_a_line_end():
    assert places("EUR thank you") == [((Span(1, 25, 28), Span(2, 0, 9)), 1.0)]


def test_every_place_is_given_in_reading_order():
    found = places("cat", ["a cat, a bat", "no", "Cat"], least=0.6)

    assert found == [
        ((Span(0, 2, 5),), 1.0),
        ((Span(0, 9, 12),), pytest.approx(0.6667)),
        ((Span(2, 0, 3),), 1.0),
    ]


def test_what_is_not_there_is_not_found():
    assert places("zebra crossing") == []
    assert places("anything", []) == []
    assert places("   ", LINES) == []


def test_a_letter_that_folds_into_two_keeps_its_place():
    assert places("strasse", ["Haupt\u00adstra\u00dfe 5"]) == [((Span(0, 6, 12),), 1.0)]


def edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=200)
@given(wanted=st.text("abc", min_size=1, max_size=6), text=st.text("abcd", max_size=12))
def test_the_best_place_is_the_best_of_all_parts_of_the_text(wanted, text):
    parts = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    best = max((1 - edits(wanted, part) / len(wanted) for part in parts), default=0)
    found = find_text(wanted, [text], 0.01)

    assert (
        max((match.similarity for match in found), default=0)
        == pytest.approx(max(best, 0), abs=1e-3)
        or best <= 0.01
    )
    taken = [i for match in found for s in match.spans for i in range(s.start, s.end)]
    assert len(taken) == len(set(taken))
    for match in found:
        (span,) = match.spans
        part = text[span.start : span.end]
        assert match.similarity == pytest.approx(1 - edits(wanted, part) / len(wanted), abs=1e-3)
