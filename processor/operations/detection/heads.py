"""Recognise the family of a detector by its output shapes and metadata, and decode its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
# Rows of a YOLO output are grid cells: of these strides, and for the "P6" sizes of 64 too.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_YOLOV5_ANCHORS = 3
# Exports with suppression in the graph have at most some hundreds of rows.
_MAX_FINISHED_ROWS = 1000
# Error of a score, and of the sum of a softmax, in 16 bits.
_SCORE_TOLERANCE = 0.01
# Corners in fractions of the picture may lie outside it, up to here; those in pixels are larger.
_MAX_FRACTION = 2.0


class Head(StrEnum):
    """The output families that can be decoded."""

    YOLOV5 = "yolov5"  # [1, n, 5 + classes]: centre box, objectness, class scores; 3 per cell
    YOLOV8 = "yolov8"  # [1, 4 + classes, n] or its transpose: centre box, class scores
    YOLOX = "yolox"  # [1, n, 5 + classes] with one row per cell, relative to the cell
    FINISHED = "finished"  # [1, n, 6]: corners, score, class, already suppressed
    SSD = "ssd"  # boxes [n, 4] and scores [n, classes]
    SSD_FINISHED = "ssd-finished"  # boxes [n, 4], scores [n], class numbers [n]


class UnknownHead(ValueError):
    """The outputs are of no family in Head; the message has their names and shapes."""


@dataclass(frozen=True)
class HeadPlan:
    """The way to read one model's outputs; `outputs` names them in the order that decoding needs.

    For SSD: `background` is True if the first score is that of no object, None if the values
    decide, and `first` is the number of the first class after it, None for 1 after a background
    and else 0.
    """

    head: Head
    outputs: tuple[str, ...]
    classes: int | None
    box_order: str | None = None
    background: bool | None = None
    first: int | None = None


@dataclass(frozen=True)
class Candidates:
    """Boxes over the confidence threshold: [n, 4] x0, y0, x1, y1 in pixels of the input.

    `classes` has the numbers of the model; ClassList makes class ids of them.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


def recognise(
    size: tuple[int, int],
    outputs: Mapping[str, Shape],
    classes: int | None = None,
    box_order: str | None = None,
    *,
    channels_first: bool = True,
) -> HeadPlan:
    """Return the plan for a model of input `size` (width, height) with these outputs.

    `classes` is the number of names in the metadata, None when there are none. `box_order`
    (yxyx or xyxy, for SSD) overrides what names and the input's axes say.

    Raises:
        UnknownHead: the outputs are of no family in Head.
    """
    boxes = [name for name, shape in outputs.items() if len(shape) in (2, 3) and shape[-1] == 4]
    if len(outputs) > 1 and boxes:
        # Scores of four classes have the shape of boxes.
        name = next((name for name in boxes if "box" in name.lower()), boxes[0])
        order = box_order or _box_order(name, channels_first)
        return _recognise_ssd(name, outputs, classes, order)
    # Some exports add raw maps or mask prototypes after the decoded [1, n, values].
    name = next((name for name, shape in outputs.items() if len(shape) == 3), None)
    if name is None:
        raise UnknownHead(f"outputs {_described(outputs)} are not of a known kind of detector")
    found = _yolo_head(size, outputs[name], classes)
    if found is None:
        raise UnknownHead(f"output {_described(outputs)} is not of a known kind of detector")
    return HeadPlan(found, (name,), classes or _implied_classes(found, outputs[name]))


def decode(
    plan: HeadPlan, outputs: Mapping[str, NDArray], size: tuple[int, int], confidence: float
) -> Candidates:
    """Return the boxes of one picture with at least that confidence, each with its best class."""
    arrays = [np.asarray(outputs[name]) for name in plan.outputs]
    match plan.head:
        case Head.SSD:
            found = _decode_ssd(arrays[0], arrays[1], plan, size, confidence)
        case Head.SSD_FINISHED:
            found = _decode_ssd_finished(arrays[0], arrays[1], arrays[2], plan, size, confidence)
        case Head.FINISHED:
            found = _decode_finished(_rows(arrays[0]), confidence)
        case Head.YOLOV8:
            found = _decode_yolov8(arrays[0], plan.classes, confidence)
        case Head.YOLOX:
            found = _decode_yolox(_rows(arrays[0]), size, plan.classes, confidence)
        case Head.YOLOV5:
            found = _decode_objectness(_rows(arrays[0]), plan.classes, confidence)
    sane = np.isfinite(found.boxes).all(axis=1)
    return Candidates(found.boxes[sane], found.scores[sane], found.classes[sane])


def _yolo_head(size: tuple[int, int], shape: Shape, classes: int | None) -> Head | None:
    _, rows, values = shape
    cells = [_cells(size, strides) for strides in _STRIDES]
    anchors = [_YOLOV5_ANCHORS * count for count in cells]
    if values in cells and values > rows:
        return Head.YOLOV8
    if rows in anchors:
        return Head.YOLOV5
    if rows == cells[0]:
        return Head.YOLOV8 if classes is not None and values == 4 + classes else Head.YOLOX
    if values == 6 and rows <= _MAX_FINISHED_ROWS:
        return Head.FINISHED
    if classes is not None and values == 5 + classes:
        return Head.YOLOV5
    if classes is not None and 4 + classes in (rows, values):
        return Head.YOLOV8
    return None


def _implied_classes(head: Head, shape: Shape) -> int | None:
    match head:
        case Head.YOLOV8:
            return min(shape[1:]) - 4
        case Head.YOLOV5 | Head.YOLOX:
            return shape[2] - 5
        case _:
            return None


def _box_order(boxes: str, channels_first: bool) -> str | None:
    """Return the order of an SSD's corners, None if the values decide.

    TensorFlow names them detection_boxes and has y first and channels last; PyTorch has x and
    channels first.
    """
    if "detection" in boxes.lower():
        return "yxyx"
    return "xyxy" if channels_first or "bbox" in boxes.lower() else None


def _recognise_ssd(
    boxes: str, outputs: Mapping[str, Shape], classes: int | None, box_order: str | None
) -> HeadPlan:
    rows = outputs[boxes][-2]
    others = {name: shape for name, shape in outputs.items() if name != boxes}
    for name, shape in others.items():
        if len(shape) >= 2 and shape[-2] == rows and shape[-1] > 1:
            count = shape[-1]
            background, first = _numbering(count, classes)
            outputs_read = (boxes, name)
            return HeadPlan(Head.SSD, outputs_read, count, box_order, background, first)
    flat = [name for name, shape in others.items() if len(shape) <= 2 and shape[-1] == rows]
    scores = [name for name in flat if "score" in name.lower() or "conf" in name.lower()]
    numbers = [name for name in flat if name not in scores]
    if not scores or not numbers:
        raise UnknownHead(f"outputs {_described(outputs)} have boxes, but no scores and classes")
    return HeadPlan(Head.SSD_FINISHED, (boxes, scores[0], numbers[0]), None, box_order)


def _numbering(scores: int, classes: int | None) -> tuple[bool | None, int | None]:
    """Return a plan's `background` and `first`, given the number of scores and of names."""
    if classes is not None and scores == classes + 1:
        return True, 0
    if classes is not None:
        return None, None
    # 91 scores are COCO's ids from 0, the background, and 90 scores those from 1.
    if scores in (90, 91):
        return scores == 91, 1
    # COCO's table of 81 begins with the background; classes without names are counted from 0.
    return None, None if scores == 81 else 0


def _cells(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def _described(outputs: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())


def _rows(output: NDArray) -> NDArray:
    return output.reshape(-1, output.shape[-1])


def _decode_yolov8(output: NDArray, classes: int | None, confidence: float) -> Candidates:
    values = output.reshape(output.shape[-2:])
    if values.shape[0] > values.shape[1]:
        values = values.T
    # Exports of other tasks have mask coefficients or key points after the class scores.
    scores = values[4 : 4 + classes] if classes else values[4:]
    best = scores.max(axis=0)
    sure = np.flatnonzero(best >= confidence)
    numbers = scores[:, sure].argmax(axis=0)
    return Candidates(
        _corners(values[:4, sure].T), best[sure].astype(np.float64), numbers.astype(np.int64)
    )


def _decode_objectness(rows: NDArray, classes: int | None, confidence: float) -> Candidates:
    # A class score is at most 1, so rows with too low an objectness can be left out first.
    rows = rows[rows[:, 4] >= confidence]
    scores = rows[:, 5 : 5 + classes] if classes else rows[:, 5:]
    scores = scores * rows[:, 4:5]
    numbers = scores.argmax(axis=1)
    best = scores[np.arange(len(rows)), numbers]
    sure = best >= confidence
    return Candidates(
        _corners(rows[sure, :4]), best[sure].astype(np.float64), numbers[sure].astype(np.int64)
    )


def _decode_yolox(
    rows: NDArray, size: tuple[int, int], classes: int | None, confidence: float
) -> Candidates:
    """Centre and size in pixels are (offset + cell) * stride and exp(size) * stride."""
    # Exports with decoding in the graph have centres all over the picture, others near 0.
    if abs(float(np.mean(rows[:, :2]))) > min(size) / 8:
        return _decode_objectness(rows, classes, confidence)
    grid = _grid(size)
    if len(grid) != len(rows):
        raise UnknownHead(f"{len(rows)} rows do not fit the grid of a {size[0]}x{size[1]} input")
    sure = rows[:, 4] >= confidence
    rows, grid = rows[sure], grid[sure]
    boxes = rows[:, :4].astype(np.float64)
    boxes[:, :2] = (boxes[:, :2] + grid[:, :2]) * grid[:, 2:]
    boxes[:, 2:] = np.exp(boxes[:, 2:]) * grid[:, 2:]
    return _decode_objectness(np.hstack([boxes, rows[:, 4:]]), classes, confidence)


@cache
def _grid(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return [cells, 3]: column, row and stride of every cell of that input."""
    parts = []
    for stride in _STRIDES[0]:
        width, height = size[0] // stride, size[1] // stride
        y, x = np.divmod(np.arange(width * height), width)
        parts.append(np.stack([x, y, np.full_like(x, stride)], axis=1))
    return np.concatenate(parts).astype(np.float64)


def _decode_finished(rows: NDArray, confidence: float) -> Candidates:
    rows = rows[rows[:, 4] >= confidence].astype(np.float64)
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def _decode_ssd(
    boxes: NDArray, scores: NDArray, plan: HeadPlan, size: tuple[int, int], confidence: float
) -> Candidates:
    boxes, scores = _rows(boxes), _checked(_rows(scores), plan.outputs[1])
    # Scores of every box add up to 1 only if one of them is that of the background.
    shares = np.allclose(scores.sum(axis=1, dtype=np.float64), 1.0, atol=_SCORE_TOLERANCE)
    background = shares if plan.background is None else plan.background
    first = int(background) if plan.first is None else plan.first
    if background:
        scores = scores[:, 1:]
    numbers = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), numbers]
    sure = best >= confidence
    return Candidates(
        _ssd_corners(boxes, plan.box_order, size)[sure],
        best[sure].astype(np.float64),
        numbers[sure].astype(np.int64) + first,
    )


def _decode_ssd_finished(
    boxes: NDArray,
    scores: NDArray,
    numbers: NDArray,
    plan: HeadPlan,
    size: tuple[int, int],
    confidence: float,
) -> Candidates:
    scores = _checked(scores.reshape(-1), plan.outputs[1])
    sure = scores >= confidence
    return Candidates(
        _ssd_corners(_rows(boxes), plan.box_order, size)[sure],
        scores[sure].astype(np.float64),
        numbers.reshape(-1)[sure].astype(np.int64),
    )


def _checked(scores: NDArray, name: str) -> NDArray:
    """Return the scores; raise UnknownHead for logits, as of a DETR."""
    if scores.size and (scores.min() < -_SCORE_TOLERANCE or scores.max() > 1 + _SCORE_TOLERANCE):
        raise UnknownHead(
            f"output {name} reaches from {scores.min():.3g} to {scores.max():.3g}, and scores from "
            "0 to 1 are understood; export the model with its sigmoid or softmax, if it is an SSD"
        )
    return scores


def _ssd_corners(boxes: NDArray, order: str | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the corners in input pixels; the output has fractions of the picture or pixels.

    TensorFlow writes fractions as ymin, xmin, ymax, xmax; torchvision pixels as x0, y0, x1, y1.
    """
    boxes = boxes.astype(np.float64)
    # The median decides: any box may lie far outside the picture. Empty boxes are padding.
    farthest = np.abs(boxes[np.isfinite(boxes).all(axis=1)]).max(axis=1, initial=0.0)
    filled = farthest[farthest > 0]
    fractions = filled.size == 0 or float(np.median(filled)) <= _MAX_FRACTION
    if (order or ("yxyx" if fractions else "xyxy")) == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    return boxes * np.array(size * 2) if fractions else boxes


def _corners(centres: NDArray) -> NDArray[np.float64]:
    """Return x0, y0, x1, y1 of boxes given as centre and size."""
    middle, half = centres[:, :2].astype(np.float64), centres[:, 2:4].astype(np.float64) / 2
    return np.hstack([middle - half, middle + half])
