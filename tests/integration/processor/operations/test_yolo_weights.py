"""detect-objects on the photos with the trained weights of YOLOX and YOLOv5."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imagemill.operations import Output, RunContext, SourceInfo
from processor.models.fetch import cli
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from processor.operations import detect_objects
from schemas.params.detect_objects import DetectObjectsParams
from tests.integration.processor.operations.conftest import MakeContext


def photo(photos: Path, name: str) -> Image.Image:
    return Image.open(photos / f"{name}.png").convert("RGB")


def detect(image: Image.Image, context: MakeContext, **params) -> Output:
    wanted = DetectObjectsParams(**{"model": "yolox_nano", **params})
    return detect_objects.run(image, wanted, context(image))


def seen(output: Output) -> list[tuple[str, float]]:
    return [(one["class"], one["confidence"]) for one in output.data["predictions"]]


# Where the cup is, read off the photo; detectors differ by up to 25 pixels.
CUP = {"x": 172, "y": 20, "width": 240, "height": 265}


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        ("yolox_nano", "chelsea", [("cat", 0.635)]),
        ("yolox_nano", "coffee", [("cup", 0.899), ("dining table", 0.732)]),
        ("yolox_nano", "astronaut", [("person", 0.925)]),
        ("yolov5n", "chelsea", [("cat", 0.527)]),
        ("yolov5n", "coffee", [("cup", 0.701), ("dining table", 0.265)]),
        ("yolov5n", "astronaut", [("person", 0.381)]),
    ],
)
def test_finds_what_the_photo_shows(photos, yolo_context, model, name, expected):
    found = seen(detect(photo(photos, name), yolo_context, model=model))

    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=0.03)


@pytest.mark.parametrize("model", ["yolox_nano", "yolov5n"])
def test_the_result_has_the_documented_form(photos, yolo_context, model):
    data = detect(photo(photos, "coffee"), yolo_context, model=model, classes=["cup"]).data

    assert data["image"] == {"width": 600, "height": 400}
    (cup,) = data["predictions"]
    assert (cup["class"], cup["class_id"]) == ("cup", 41)
    assert cup["box"] == pytest.approx(CUP, abs=25)


def test_thresholds_filter_and_limit(photos, yolo_context):
    image = photo(photos, "coffee")

    def found(**params) -> list[tuple[str, float]]:
        return seen(detect(image, yolo_context, **params))

    assert found(confidence=0.8) == [("cup", pytest.approx(0.899, abs=0.03))]
    assert len(found(max_detections=1)) == 1
    assert len(found(iou=1.0)) > 4
    assert [name for name, _ in found(classes=["DINING table"])] == ["dining table"]
    assert found(classes=["zebra"]) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_odd_sizes_give_boxes_inside(yolo_context, size):
    output = detect(Image.new("RGB", size), yolo_context, confidence=0.01)
    for box in (one["box"] for one in output.data["predictions"]):
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] + 0.1
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1] + 0.1


def test_a_users_own_file_works_once_added(shared, photos, tmp_path, monkeypatch):
    own = tmp_path / "shelf-watch.onnx"
    own.write_bytes((shared / "models" / "yolov5n.onnx").read_bytes())
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)

    loader = ModelLoader(ModelStore(tmp_path / "home" / "models"))
    assert cli.main(["add", str(own), "--task", "detect-objects"]) == 0
    image = photo(photos, "coffee")
    run = RunContext(loader, SourceInfo("PNG", (600, 400), 1), 10**8)
    output = detect_objects.run(image, DetectObjectsParams(model="shelf-watch"), run)

    assert seen(output) == [
        ("cup", pytest.approx(0.701, abs=0.03)),
        ("dining table", pytest.approx(0.265, abs=0.03)),
    ]
    assert run.used_models[0].name == "shelf-watch"

    own.write_bytes((shared / "models" / "yolox_nano.onnx").read_bytes())
    assert cli.main(["add", str(own), "--task", "detect-objects"]) == 0
    output = detect_objects.run(image, DetectObjectsParams(model="shelf-watch"), run)

    assert seen(output) == [
        ("cup", pytest.approx(0.899, abs=0.03)),
        ("dining table", pytest.approx(0.732, abs=0.03)),
    ]
