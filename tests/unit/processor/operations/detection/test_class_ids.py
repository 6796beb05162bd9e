"""Class ids count the classes of a model from 0, whatever its outputs number them by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from processor.operations.detection.detector import Prediction, Wanted
from processor.operations.detection.labels import COCO_80
from tests.support.detectors import constant_model, open_detector

PICTURE = Image.new("RGB", (320, 320), "white")
ALL = Wanted(confidence=0.25, iou=0.45, limit=100)
CAT, TOOTHBRUSH = 15, 79


def yolov8(classes: int, hits: Mapping[int, float]) -> dict[str, np.ndarray]:
    output = np.zeros((1, 4 + classes, 2100), np.float32)
    for place, (column, score) in enumerate(hits.items()):
        output[0, :4, place] = [40 + 60 * place, 80, 40, 20]
        output[0, 4 + column, place] = score
    return {"output0": output}


def yolov5(classes: int, hits: Mapping[int, float]) -> dict[str, np.ndarray]:
    output = np.zeros((1, 6300, 5 + classes), np.float32)
    for place, (column, score) in enumerate(hits.items()):
        output[0, place, :5] = [40 + 60 * place, 80, 40, 20, 1]
        output[0, place, 5 + column] = score
    return {"output": output}


def yolox(classes: int, hits: Mapping[int, float]) -> dict[str, np.ndarray]:
    output = np.zeros((1, 2100, 5 + classes), np.float32)
    for place, (column, score) in enumerate(hits.items()):
        output[0, 10 * place, 4] = 1
        output[0, 10 * place, 5 + column] = score
    return {"output": output}


def finished(numbers: Mapping[int, float]) -> dict[str, np.ndarray]:
    output = np.zeros((1, 300, 6), np.float32)
    for place, (number, score) in enumerate(numbers.items()):
        output[0, place] = [40 + 60 * place, 70, 80 + 60 * place, 90, score, number]
    return {"output0": output}


def ssd(columns: int, hits: Mapping[int, float]) -> dict[str, np.ndarray]:
    boxes = np.zeros((1, 50, 4), np.float32)
    scores = np.zeros((1, 50, columns), np.float32)
    for place, (column, score) in enumerate(hits.items()):
        boxes[0, place] = [0.1 + 0.2 * place, 0.2, 0.2 + 0.2 * place, 0.3]
        scores[0, place, column] = score
    return {"scores": scores, "boxes": boxes}


def ssd_finished(numbers: Mapping[int, float]) -> dict[str, np.ndarray]:
    count = len(numbers)
    boxes = [[0.1 + 0.2 * place, 0.2, 0.2 + 0.2 * place, 0.3] for place in range(count)]
    return {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([list(numbers.values())], np.float32),
        "labels": np.array([list(numbers)], np.int64),
    }


def found(
    outputs: Mapping[str, np.ndarray], names: str | None = None, wanted: Wanted = ALL
) -> list[Prediction]:
    metadata = {"names": names} if names else {}
    return open_detector(constant_model([1, 3, 320, 320], outputs, metadata)).detect(
        PICTURE, wanted
    )


def ids(predictions: list[Prediction]) -> list[tuple[str, int]]:
    return [(one.name, one.class_id) for one in predictions]


@pytest.mark.parametrize(
    "outputs",
    [
        yolov8(80, {CAT: 0.9, TOOTHBRUSH: 0.8}),
        yolov5(80, {CAT: 0.9, TOOTHBRUSH: 0.8}),
        yolox(80, {CAT: 0.9, TOOTHBRUSH: 0.8}),
        finished({CAT: 0.9, TOOTHBRUSH: 0.8}),
        ssd(80, {CAT: 0.9, TOOTHBRUSH: 0.8}),
        ssd(90, {16: 0.9, 89: 0.8}),
        ssd(91, {17: 0.9, 90: 0.8}),
        ssd_finished({17: 0.9, 90: 0.8}),
    ],
    ids=["yolov8", "yolov5", "yolox", "finished", "ssd 80", "ssd 90", "ssd 91", "ssd finished"],
)
def test_every_head_numbers_cocos_classes_from_0_to_79(outputs: Mapping[str, np.ndarray]) -> None:
    assert ids(found(outputs)) == [("cat", CAT), ("toothbrush", TOOTHBRUSH)]
    assert (COCO_80[0], COCO_80[CAT], COCO_80[TOOTHBRUSH]) == ("person", "cat", "toothbrush")


def test_cocos_classes_behind_a_background_score_are_numbered_without_it() -> None:
    outputs = ssd(81, {1 + CAT: 0.9})
    outputs["scores"][..., 0] = 1 - outputs["scores"].sum(axis=2)
    assert ids(found(outputs)) == [("cat", CAT)]


@pytest.mark.parametrize("number", [12, 26, 30, 83])
def test_the_gaps_in_cocos_numbers_are_no_classes(number: int) -> None:
    assert ids(found(ssd_finished({number: 0.9, 17: 0.8}))) == [("cat", CAT)]


@pytest.mark.parametrize("names", ["['ant', 'bee', 'cow']", "{1: 'ant', 2: 'bee', 3: 'cow'}"])
def test_names_in_the_metadata_are_numbered_from_0_in_their_order(names: str) -> None:
    assert ids(found(yolov8(3, {1: 0.9, 2: 0.8}), names)) == [("bee", 1), ("cow", 2)]
    assert ids(found(ssd(3, {1: 0.9, 2: 0.8}), names)) == [("bee", 1), ("cow", 2)]


@pytest.mark.parametrize("outputs", [finished, ssd_finished])
def test_numbers_in_the_outputs_are_those_that_the_metadata_names(outputs) -> None:
    assert ids(found(outputs({1: 0.9, 3: 0.8}), "{1: 'ant', 2: 'bee', 3: 'cow'}")) == [
        ("ant", 0),
        ("cow", 2),
    ]


def test_classes_without_names_are_numbered_from_0() -> None:
    assert ids(found(yolov8(3, {2: 0.9}))) == [("class 2", 2)]
    assert ids(found(ssd(7, {2: 0.9}))) == [("class 2", 2)]


def test_classes_are_chosen_by_name_in_every_numbering() -> None:
    detector = open_detector(constant_model([1, 3, 320, 320], ssd(90, {16: 0.9, 0: 0.8})))
    chosen = detector.classes.find(["Person"])
    wanted = Wanted(confidence=0.25, iou=0.45, limit=100, classes=chosen)
    assert ids(detector.detect(PICTURE, wanted)) == [("person", 0)]
