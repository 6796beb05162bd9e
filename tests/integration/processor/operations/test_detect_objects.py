"""detect-objects on the shared photos, with detectors of two families."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps

from imagemill.images.check import ImageLimits
from imagemill.operations import OperationError, Output, RunContext, SourceInfo
from processor.models.fetch import cli
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from processor.operations import detect_objects
from processor.run.imaging import decode
from schemas.errors import ErrorCode
from schemas.params.detect_objects import DetectObjectsParams


def photo(shared: Path, name: str) -> Image.Image:
    return Image.open(shared / "photos" / f"{name}.png").convert("RGB")


def detect(image: Image.Image, context, **params) -> Output:
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
def test_finds_what_the_photo_shows(shared, context, model, name, expected):
    found = seen(detect(photo(shared, name), context, model=model))

    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=0.03)


@pytest.mark.parametrize("model", ["yolox_nano", "yolov5n"])
def test_the_result_has_the_documented_form(shared, context, model):
    image = photo(shared, "coffee")
    data = detect(image, context, model=model, classes=["cup"]).data

    assert data["image"] == {"width": 600, "height": 400}
    (cup,) = data["predictions"]
    assert (cup["class"], cup["class_id"]) == ("cup", 41)
    assert cup["box"] == pytest.approx(CUP, abs=25)


def test_names_the_model_it_used(shared, context):
    image = photo(shared, "coffee")
    run = context(image)
    detect_objects.run(image, DetectObjectsParams(model="yolox_nano"), run)

    (used,) = run.used_models
    assert used.name == "yolox_nano" and len(used.sha256) == 64 and used.precision == "exact"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_turned_by_exif_gives_the_boxes_of_the_upright_one(shared, context, orientation):
    upright = photo(shared, "coffee")
    turned, _ = decode(stored_as(upright, orientation), None, ImageLimits())

    assert detect(turned, context).data == detect(upright, context).data


def stored_as(upright: Image.Image, orientation: int) -> io.BytesIO:
    """The file of a camera that was held so: turned pixels, and the EXIF tag that says it."""
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    tag = Image.Exif()
    tag[0x0112] = back
    buffer = io.BytesIO()
    upright.save(buffer, "PNG", exif=tag)
    pixels = ImageOps.exif_transpose(Image.open(buffer))
    tag[0x0112] = orientation
    file = io.BytesIO()
    pixels.save(file, "PNG", exif=tag)
    file.seek(0)
    return file


def test_boxes_grow_with_the_picture(shared, context):
    image = photo(shared, "coffee")
    small = detect(image, context, classes=["cup"]).data["predictions"][0]["box"]
    large = detect(image.resize((1800, 1200)), context, classes=["cup"]).data["predictions"][0]

    for side, value in small.items():
        assert large["box"][side] == pytest.approx(value * 3, abs=12)


def test_thresholds_filter_and_limit(shared, context):
    image = photo(shared, "coffee")

    assert seen(detect(image, context, confidence=0.8)) == [("cup", pytest.approx(0.899, abs=0.03))]
    assert len(seen(detect(image, context, max_detections=1))) == 1
    assert len(seen(detect(image, context, iou=1.0))) > 4
    assert [n for n, _ in seen(detect(image, context, classes=["DINING table"]))] == [
        "dining table"
    ]
    assert seen(detect(image, context, classes=["zebra"])) == []


def test_an_unknown_class_names_the_known_ones(shared, context):
    with pytest.raises(OperationError, match="no class unicorn; it has person, bicycle") as raised:
        detect(photo(shared, "coffee"), context, classes=["unicorn"])

    assert raised.value.error.code is ErrorCode.PARAMS_INVALID


def test_an_unknown_model_names_the_known_ones(shared, context):
    with pytest.raises(OperationError, match=r"'yolo99'.*yolox_nano") as raised:
        detect(photo(shared, "coffee"), context, model="yolo99")

    assert raised.value.error.code is ErrorCode.PARAMS_INVALID


def test_a_model_that_is_not_there_names_the_fetch_command(shared, tmp_path):
    image = photo(shared, "coffee")
    run = RunContext(ModelLoader(ModelStore(tmp_path)), SourceInfo("PNG", image.size, 1), 10**8)

    with pytest.raises(OperationError, match="imagemill models fetch yolox_nano") as raised:
        detect_objects.run(image, DetectObjectsParams(model="yolox_nano"), run)
    assert raised.value.error.code is ErrorCode.MODEL_UNAVAILABLE


def test_annotated_only_where_asked_for(shared, context):
    image = photo(shared, "coffee")
    drawn = detect(image, context, annotate=True).image

    assert detect(image, context).image is None
    assert drawn.size == image.size
    left, _, right, _ = ImageChops.difference(drawn, image).getbbox()
    assert left <= 2 and right >= 598


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_odd_sizes_give_boxes_inside(context, size):
    for one in detect(Image.new("RGB", size), context, confidence=0.01).data["predictions"]:
        box = one["box"]
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] + 0.1
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1] + 0.1


def test_a_users_own_file_works_once_added(shared, tmp_path, monkeypatch, capsys):
    own = tmp_path / "shelf-watch.onnx"
    own.write_bytes((shared / "models" / "yolov5n.onnx").read_bytes())
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)

    loader = ModelLoader(ModelStore(tmp_path / "home" / "models"))
    assert cli.main(["add", str(own), "--task", "detect-objects"]) == 0
    image = photo(shared, "coffee")
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
