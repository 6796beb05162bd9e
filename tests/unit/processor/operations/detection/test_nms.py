"""Suppression against a brute-force oracle that does one box after another."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.operations.detection import nms

Box = tuple[int, int, int, int]


def greedy(boxes: list[Box], scores: list[int], classes: list[int], iou: Fraction) -> list[int]:
    """The definition, in exact arithmetic."""
    kept: list[int] = []
    for j in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if not any(classes[i] == classes[j] and overlap(boxes[i], boxes[j]) > iou for i in kept):
            kept.append(j)
    return kept


def overlap(a: Box, b: Box) -> Fraction:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = area(a) + area(b) - width * height
    return Fraction(width * height, union) if union else Fraction(0)


def area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


@st.composite
def detections(draw: st.DrawFn) -> tuple[list[Box], list[int], list[int]]:
    corner, side = st.integers(0, 12), st.integers(0, 12)
    raw = draw(
        st.lists(
            st.tuples(corner, corner, side, side, st.integers(0, 9), st.integers(0, 2)), max_size=60
        )
    )
    boxes = [(x, y, x + w, y + h) for x, y, w, h, _, _ in raw]
    return boxes, [row[4] for row in raw], [row[5] for row in raw]


def suppress(boxes, scores, classes, iou: float, limit: int = 10_000) -> list[int]:
    return nms.non_maximum_suppression(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(classes, dtype=np.int64),
        iou,
        limit,
    ).tolist()


@settings(max_examples=150)
@given(
    found=detections(),
    sixteenths=st.integers(0, 16),
    block=st.sampled_from([1, 3, 1024]),
    limit=st.integers(1, 70),
)
def test_keeps_what_the_greedy_definition_keeps(found, sixteenths, block, limit):
    boxes, scores, classes = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "BLOCK", block)
        kept = suppress(boxes, scores, classes, sixteenths / 16, limit)

    assert kept == greedy(boxes, scores, classes, Fraction(sixteenths, 16))[:limit]


def test_follows_a_chain_of_suppressors_to_its_end():
    boxes = [(i * 4, 0, i * 4 + 10, 10) for i in range(200)]
    scores = list(range(200, 0, -1))

    assert suppress(boxes, scores, [0] * 200, iou=0.4) == list(range(0, 200, 2))


def test_thousands_of_boxes_agree_with_the_definition():
    rng = np.random.default_rng(7)
    corner = rng.integers(0, 60, (2500, 2))
    boxes = np.hstack([corner, corner + rng.integers(1, 30, (2500, 2))])
    rows = [tuple(map(int, row)) for row in boxes]
    scores = rng.integers(0, 1000, 2500).tolist()
    classes = rng.integers(0, 3, 2500).tolist()

    assert suppress(rows, scores, classes, 0.25) == greedy(rows, scores, classes, Fraction(1, 4))


def test_boxes_of_other_classes_stay():
    assert suppress([(0, 0, 9, 9)] * 2, [2, 1], [0, 1], iou=0.5) == [0, 1]


def test_nothing_in_nothing_out():
    assert suppress([], [], [], iou=0.5) == []
