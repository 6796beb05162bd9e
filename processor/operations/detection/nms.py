"""Class-aware greedy non-maximum suppression, exact and without a Python loop over boxes.

Greedy suppression keeps a box when no kept box with a higher score overlaps it. Written as
`keep[j] = not any(keep[i] and overlaps[i, j] for i before j)`, this has exactly one solution, since
the order has no cycles, and evaluating it again and again from "keep all" settles box after box
in that order: after n rounds every box whose longest chain of suppressors is shorter than n has
its final value. So the rounds stop after the longest chain, which on real detections is 2 to 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Bounds the memory of one overlap matrix to 8 MB; more boxes than this go block after block.
BLOCK = 1024


def non_maximum_suppression(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    classes: NDArray[np.integer],
    iou: float,
    limit: int,
) -> NDArray[np.intp]:
    """Indices of the boxes to keep, most confident first, at most `limit`.

    `boxes` is [n, 4] as x0, y0, x1, y1. Boxes suppress only boxes of their own class, and only
    when intersection over union is greater than `iou`. Equal scores keep their input order.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float64)
    classes = classes[order]
    kept = np.empty(0, dtype=np.intp)
    # In score order the first `limit` survivors are the answer: later blocks cannot change them.
    for start in range(0, len(order), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(order)))
        alive = ~_overlaps(boxes, classes, kept, block, iou).any(axis=0)
        block = block[alive]
        overlaps = np.triu(_overlaps(boxes, classes, block, block, iou), k=1)
        kept = np.concatenate([kept, block[_settle(overlaps)]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


def _settle(overlaps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes survive, where overlaps[i, j] says that box i suppresses j when it survives."""
    keep = np.ones(len(overlaps), dtype=bool)
    while True:
        settled = ~overlaps[keep].any(axis=0)
        if np.array_equal(settled, keep):
            return keep
        keep = settled


def _overlaps(
    boxes: NDArray[np.float64],
    classes: NDArray[np.integer],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    iou: float,
) -> NDArray[np.bool_]:
    """[left, right] matrix of same-class pairs that overlap by more than `iou`."""
    a, b = boxes[left], boxes[right]
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(a)[:, None] + _areas(b)[None, :] - intersection
    # Multiplied out, so that boxes without area need no division by zero.
    return (intersection > iou * union) & (classes[left][:, None] == classes[right][None, :])


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
