"""Each detector family is told by its shapes and gives the boxes that its outputs describe."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from processor.models.manifest import ModelInput
from processor.operations.detection.detector import Wanted
from processor.operations.detection.heads import Head, UnknownHead
from tests.support.detectors import constant_model, open_detector

ALL = Wanted(confidence=0.25, iou=0.45, limit=100)
SQUARE = Image.new("RGB", (320, 320), "white")


def found(detector, image=SQUARE, wanted=ALL):
    return [
        (p.name, round(p.confidence, 3), tuple(round(v) for v in p.box))
        for p in detector.detect(image, wanted)
    ]


def test_yolov8_has_boxes_in_columns():
    output = np.zeros((1, 4 + 3, 2100), dtype=np.float32)
    output[0, :, 7] = [160, 80, 40, 20, 0.1, 0.9, 0.2]
    output[0, :, 9] = [161, 80, 40, 20, 0.0, 0.8, 0.2]
    output[0, :, 11] = [50, 50, 20, 20, 0.1, 0.2, 0.2]
    names = {"names": "{0: 'ant', 1: 'bee', 2: 'cow'}"}
    detector = open_detector(constant_model([1, 3, 320, 320], {"output0": output}, names))

    assert detector.plan.head is Head.YOLOV8
    assert found(detector) == [("bee", 0.9, (140, 70, 180, 90))]


def test_yolov8_with_open_shapes_and_the_size_in_its_metadata():
    output = np.zeros((1, 4 + 80, 2100), dtype=np.float32)
    output[0, :6, 0] = [160, 80, 40, 20, 0.0, 0.9]
    model = constant_model(
        ["batch", 3, "height", "width"],
        {"output0": output},
        {"imgsz": "[320, 320]"},
        open_shapes=True,
    )
    detector = open_detector(model)

    assert (detector.recipe.width, detector.recipe.height) == (320, 320)
    assert found(detector) == [("bicycle", 0.9, (140, 70, 180, 90))]


def test_yolov8_turned_to_rows_is_told_from_yolox_by_its_names():
    output = np.zeros((1, 2100, 4 + 2), dtype=np.float32)
    output[0, 5] = [160, 80, 40, 20, 0.3, 0.9]
    names = {"names": "['ant', 'bee']"}
    detector = open_detector(constant_model([1, 3, 320, 320], {"out": output}, names))

    assert detector.plan.head is Head.YOLOV8
    assert found(detector) == [("bee", 0.9, (140, 70, 180, 90))]


def test_yolov8_segmentation_export_gives_its_boxes():
    output = np.zeros((1, 4 + 2 + 32, 2100), dtype=np.float32)
    output[0, :, 0] = [160, 80, 40, 20, 0.9, 0.1, *[5.0] * 32]
    outputs = {"output0": output, "output1": np.zeros((1, 32, 80, 80), dtype=np.float32)}
    names = {"names": "['ant', 'bee']"}
    detector = open_detector(constant_model([1, 3, 320, 320], outputs, names))

    assert found(detector) == [("ant", 0.9, (140, 70, 180, 90))]


def test_yolov5_multiplies_objectness_and_class():
    output = np.zeros((1, 6300, 5 + 80), dtype=np.float32)
    output[0, 3, :7] = [160, 80, 40, 20, 0.8, 0.1, 0.5]
    output[0, 4, :7] = [50, 80, 40, 20, 0.9, 0.1, 0.2]
    detector = open_detector(constant_model([1, 3, 320, 320], {"output": output}))

    assert detector.plan.head is Head.YOLOV5
    assert found(detector) == [("bicycle", 0.4, (140, 70, 180, 90))]


def test_yolov5_with_one_class_is_not_taken_for_finished_boxes():
    output = np.zeros((1, 6300, 6), dtype=np.float32)
    output[0, 3] = [160, 80, 40, 20, 0.8, 1.0]
    names = {"names": "['ant']"}
    detector = open_detector(constant_model([1, 3, 320, 320], {"output": output}, names))

    assert found(detector) == [("ant", 0.8, (140, 70, 180, 90))]


@pytest.mark.parametrize("decoded", [False, True])
def test_yolox_boxes_are_relative_to_their_cell(decoded):
    # A 320 input has 40x40 cells of stride 8 first; row 40 * 10 + 20 is cell x=20, y=10.
    output = np.zeros((1, 2100, 5 + 80), dtype=np.float32)
    if decoded:
        output[0, :, :2] = 160
    row = [160, 80, 40, 16] if decoded else [0.0, 0.0, np.log(5), np.log(2)]
    output[0, 420, :7] = [*row, 0.9, 0.0, 1.0]
    detector = open_detector(constant_model([1, 3, 320, 320], {"output": output}))

    assert detector.plan.head is Head.YOLOX
    assert found(detector) == [("bicycle", 0.9, (140, 72, 180, 88))]


@pytest.mark.parametrize(
    ("written", "channels", "span", "mean"),
    [
        ({}, "BGR", 255.0, 0.0),
        ({"scale": "255"}, "BGR", 1.0, 0.0),
        ({"channels": "rgb", "mean": (0.5, 0.5, 0.5)}, "RGB", 255.0, 0.5),
    ],
)
def test_an_entry_changes_only_what_it_writes(written, channels, span, mean):
    output = np.zeros((1, 2100, 5 + 80), dtype=np.float32)
    model = constant_model([1, 3, "h", "w"], {"output": output}, open_shapes=True)
    recipe = open_detector(model, ModelInput(size=(320, 320), **written)).recipe

    assert (recipe.width, recipe.height, recipe.fit) == (320, 320, "corner")
    assert (recipe.channels, recipe.span, recipe.mean[0]) == (channels, span, mean)


def test_boxes_that_the_graph_has_already_suppressed():
    output = np.zeros((1, 300, 6), dtype=np.float32)
    output[0, :2] = [[140, 70, 180, 90, 0.9, 16], [10, 10, 20, 20, 0.2, 3]]
    detector = open_detector(constant_model([1, 3, 320, 320], {"output0": output}))

    assert detector.plan.head is Head.FINISHED
    assert found(detector) == [("dog", 0.9, (140, 70, 180, 90))]


def test_ssd_boxes_are_fractions_with_y_first_and_classes_from_one():
    boxes = np.zeros((1917, 4), dtype=np.float32)
    boxes[5] = [0.25, 0.5, 0.5, 0.75]
    scores = np.zeros((1917, 90), dtype=np.float32)
    scores[5, 16] = 0.9
    model = constant_model([1, 300, 300, 3], {"scores": scores, "boxes": boxes})
    detector = open_detector(model)

    assert detector.plan.head is Head.SSD
    assert detector.recipe.fit == "stretch"
    assert found(detector) == [("cat", 0.9, (160, 80, 240, 160))]


def test_ssd_with_a_background_score_never_reports_it():
    boxes = np.full((1, 10, 4), 0.5, dtype=np.float32)
    boxes[0, 5] = [0.25, 0.5, 0.5, 0.75]
    scores = np.zeros((1, 10, 91), dtype=np.float32)
    scores[..., 0] = 0.99
    scores[0, 5, 17] = 0.6
    detector = open_detector(
        constant_model([1, 300, 300, 3], {"raw_boxes": boxes, "raw_scores": scores})
    )

    assert found(detector) == [("cat", 0.6, (160, 80, 240, 160))]


@pytest.mark.parametrize(
    ("count", "names", "found_name"),
    [(21, None, "class 2"), (21, "n", "n2"), (81, None, "car"), (4, "n", "n2"), (3, "n", "n2")],
)
def test_the_background_of_a_pytorch_ssd_is_not_reported(count, names, found_name):
    # x first and in fractions; scores are a softmax, the background first where there is one.
    boxes = np.tile(np.array([0.5, 0.25, 0.75, 0.5], dtype=np.float32), (1, 50, 1))
    scores = np.zeros((1, 50, count), dtype=np.float32)
    background = count != 3
    scores[..., 0] = 1.0 if background else 0.0
    scores[0, 5, [0, 2 + background]] = [0.1, 0.9]
    own = [f"n{number}" for number in range(count - background)]
    metadata = {"names": str(own)} if names else {}
    outputs = {"scores": scores, "boxes": boxes}
    detector = open_detector(constant_model([1, 3, 300, 300], outputs, metadata))

    assert found(detector) == [(found_name, 0.9, (160, 80, 240, 160))]


def test_what_has_the_shapes_of_an_ssd_and_other_values_is_refused():
    outputs = {
        "pred_boxes": np.full((1, 300, 4), 0.5, dtype=np.float32),
        "logits": np.full((1, 300, 80), -4.5, dtype=np.float32),
    }
    detector = open_detector(constant_model([1, 3, 320, 320], outputs))

    with pytest.raises(UnknownHead, match=r"output logits reaches from -4\.5 to -4\.5"):
        found(detector)


@pytest.mark.parametrize(
    ("unit", "wild"), [(1.0, 40.0), (300.0, 1e6), (300.0, 0.0)], ids=["fractions", "pixels", "fill"]
)
def test_a_wild_box_does_not_change_the_unit_of_the_others(unit, wild):
    boxes = np.tile(np.array([0.5, 0.25, 0.75, 0.5], dtype=np.float32) * unit, (1, 9, 1))
    boxes[0, 1:4] = [wild, wild, wild, wild * 2]
    outputs = {
        "boxes": boxes,
        "scores": np.array([[0.9, 0.8, 0.8, 0.8, 0, 0, 0, 0, 0]], dtype=np.float32),
        "labels": np.full((1, 9), 17, dtype=np.int64),
    }
    detector = open_detector(constant_model([1, 3, 300, 300], outputs))

    assert found(detector) == [("cat", 0.9, (160, 80, 240, 160))]


def test_ssd_that_the_graph_has_already_suppressed():
    outputs = {
        "detection_boxes": np.array([[[0.25, 0.5, 0.5, 0.75], [0, 0, 1, 1]]], dtype=np.float32),
        "detection_classes": np.array([[17, 1]], dtype=np.float32),
        "detection_scores": np.array([[0.9, 0.1]], dtype=np.float32),
        "num_detections": np.array([2], dtype=np.float32),
    }
    detector = open_detector(constant_model([1, 300, 300, 3], outputs))

    assert detector.plan.head is Head.SSD_FINISHED
    assert found(detector) == [("cat", 0.9, (160, 80, 240, 160))]


def test_torchvision_ssd_gives_pixels_with_x_first():
    outputs = {
        "boxes": np.array([[150, 75, 225, 150]], dtype=np.float32),
        "scores": np.array([0.9], dtype=np.float32),
        "labels": np.array([17], dtype=np.int64),
    }
    detector = open_detector(constant_model([1, 3, 300, 300], outputs))

    assert found(detector) == [("cat", 0.9, (160, 80, 240, 160))]


def test_boxes_that_are_not_numbers_are_left_out():
    output = np.zeros((1, 4 + 80, 2100), dtype=np.float32)
    output[0, :5, 0] = [np.nan, 80, 40, 20, 0.9]
    output[0, :5, 1] = [160, 80, 40, 20, 0.8]
    output[0, :5, 2] = [60, 80, 40, 20, np.nan]
    detector = open_detector(constant_model([1, 3, 320, 320], {"output0": output}))

    assert found(detector) == [("person", 0.8, (140, 70, 180, 90))]


def test_a_classifier_is_refused_with_its_shape():
    model = constant_model([1, 3, 224, 224], {"logits": np.zeros((1, 1000), dtype=np.float32)})

    with pytest.raises(UnknownHead, match=r"logits \[1, 1000\]"):
        open_detector(model)
