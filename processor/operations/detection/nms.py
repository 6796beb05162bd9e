"""Suppress overlapping boxes of the same class, with OpenCV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Boxes of the first call. OpenCV's time grows with the square of their number: 200 take 0.2 ms,
# 8,400 take 220 ms, and most pictures reach `limit` with far fewer.
BLOCK = 1024


def non_maximum_suppression(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    classes: NDArray[np.integer],
    iou: float,
    limit: int,
) -> NDArray[np.intp]:
    """Return the indices of the boxes to keep, most confident first, at most `limit`.

    `boxes` is [n, 4] as x0, y0, x1, y1. A box suppresses less confident boxes of its own class
    whose intersection over union with it is greater than `iou`. Equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    count = BLOCK
    while True:
        # In score order the first `limit` survivors are the answer: less confident boxes cannot
        # suppress them.
        block = order[:count]
        kept = block[_survivors(boxes[block], classes[block], iou)]
        if len(kept) >= limit or count >= len(order):
            return kept[:limit]
        count *= 4


def _survivors(
    boxes: NDArray[np.floating], classes: NDArray[np.integer], iou: float
) -> NDArray[np.intp]:
    """Return the indices that survive among boxes in score order."""
    import cv2  # 15 MB: only where objects are detected

    sides = boxes[:, 2:] - boxes[:, :2]
    # OpenCV takes any two boxes without area for the same box; they overlap nothing.
    solid = np.flatnonzero((sides > 0).all(axis=1))
    keep = np.ones(len(boxes), dtype=bool)
    keep[solid] = False
    if len(solid):
        rows = np.hstack([boxes, sides])[solid][:, [0, 1, 4, 5]].astype(np.float64)
        ranks = np.arange(len(solid), 0, -1, dtype=np.float32)
        numbers = classes[solid].astype(np.int32)
        found = cv2.dnn.NMSBoxesBatched(rows, ranks, numbers, score_threshold=0, nms_threshold=iou)
        keep[solid[np.asarray(found, dtype=np.intp).ravel()]] = True
    return np.flatnonzero(keep)
