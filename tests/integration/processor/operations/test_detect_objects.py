"""detect-objects with the default detector on photos, and with a model of each family."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps

from imagemill.images.check import ImageLimits
from imagemill.operations import OperationError, Output, RunContext, SourceInfo
from processor.imaging.decoding import decode
from processor.models.fetch import cli
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from processor.operations import detect_objects
from processor.operations.detection.heads import Head
from schemas.errors import ErrorCode
from schemas.params.detect_objects import DetectObjectsParams
from tests.integration.processor.operations.conftest import MakeContext, context_of
from tests.support.detectors import colour_detector, install_colour_detector, squares


@pytest.fixture(scope="module")
def coffee(photos: Path) -> Image.Image:
    return Image.open(photos / "coffee.png").convert("RGB")


def detect(image: Image.Image, context: MakeContext, **params) -> Output:
    return detect_objects.run(image, DetectObjectsParams(**params), context(image))


def seen(output: Output) -> list[tuple[str, float]]:
    return [(one["class"], one["confidence"]) for one in output.data["predictions"]]


CUP = {"x": 174, "y": 23, "width": 242, "height": 231}


def test_the_result_has_the_documented_form(coffee, context):
    data = detect(coffee, context, classes=["cup"]).data

    assert data["image"] == {"width": 600, "height": 400}
    (cup,) = data["predictions"]
    assert (cup["class"], cup["class_id"]) == ("cup", 41)
    assert cup["box"] == pytest.approx(CUP, abs=3)


# The objects in `squares`. The model sees them at half the size, their edges softened.
SQUARES = [
    ("red", {"x": 128.0, "y": 64.0, "width": 64.0, "height": 64.0}),
    ("blue", {"x": 448.0, "y": 320.0, "width": 64.0, "height": 64.0}),
]


@pytest.mark.parametrize(
    ("family", "height"),
    [
        *((family, 640) for family in Head),
        # Padded to a square by the families that keep the picture's shape: YOLOX below, the others
        # on both sides.
        *((family, 512) for family in Head if family not in (Head.SSD, Head.SSD_FINISHED)),
    ],
)
def test_a_model_of_each_family_finds_what_the_picture_shows(tmp_path, family, height):
    context = context_of(install_colour_detector(tmp_path, family, "own"))
    output = detect(squares((640, height)), context, model="own")

    assert [(one["class"], one["box"]) for one in output.data["predictions"]] == SQUARES
    assert [score for _, score in seen(output)] == pytest.approx([0.776] * 2, abs=0.005)


def test_names_the_model_it_used(coffee, context):
    run = context(coffee)
    detect_objects.run(coffee, DetectObjectsParams(model="ssdlite_mobilenet_v2"), run)

    (used,) = run.used_models
    assert used.name == "ssdlite_mobilenet_v2"
    assert len(used.sha256) == 64 and used.precision == "exact"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_turned_by_exif_gives_the_boxes_of_the_upright_one(coffee, context, orientation):
    turned, _ = decode(stored_as(coffee, orientation), None, ImageLimits())

    assert detect(turned, context).data == detect(coffee, context).data


def stored_as(upright: Image.Image, orientation: int) -> io.BytesIO:
    """Make the file of a camera held at that EXIF orientation: rotated pixels, and the tag."""
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


def test_boxes_grow_with_the_picture(coffee, context):
    small = detect(coffee, context, classes=["cup"]).data["predictions"][0]["box"]
    large = detect(coffee.resize((1800, 1200)), context, classes=["cup"]).data["predictions"][0]

    for side, value in small.items():
        assert large["box"][side] == pytest.approx(value * 3, abs=12)


def test_thresholds_filter_and_limit(coffee, context):
    def found(**params) -> list[tuple[str, float]]:
        return seen(detect(coffee, context, **params))

    assert found(confidence=0.8) == [("cup", pytest.approx(0.961, abs=0.03))]
    assert len(found(max_detections=1)) == 1
    assert len(found(iou=1.0)) > 4
    assert [name for name, _ in found(classes=["DINING table"])] == ["dining table"]
    assert found(classes=["zebra"]) == []


def test_an_unknown_class_names_the_known_ones(coffee, context):
    with pytest.raises(OperationError, match="no class unicorn; it has person, bicycle") as raised:
        detect(coffee, context, classes=["unicorn"])

    assert raised.value.error.code is ErrorCode.PARAMS_INVALID


def test_an_unknown_model_names_the_known_ones(coffee, context):
    with pytest.raises(OperationError, match=r"'yolo99'.*yolox_nano") as raised:
        detect(coffee, context, model="yolo99")

    assert raised.value.error.code is ErrorCode.PARAMS_INVALID


def test_a_model_that_is_not_there_names_the_fetch_command(coffee, tmp_path):
    run = RunContext(ModelLoader(ModelStore(tmp_path)), SourceInfo("PNG", coffee.size, 1), 10**8)

    with pytest.raises(OperationError, match="imagemill models fetch yolox_nano") as raised:
        detect_objects.run(coffee, DetectObjectsParams(model="yolox_nano"), run)
    assert raised.value.error.code is ErrorCode.MODEL_UNAVAILABLE


def test_annotated_only_where_asked_for(coffee, context):
    drawn = detect(coffee, context, annotate=True).image

    assert detect(coffee, context).image is None
    assert drawn.size == coffee.size
    left, _, right, _ = ImageChops.difference(drawn, coffee).getbbox()
    assert left <= 2 and right >= 598


def assert_inside(output: Output, size: tuple[int, int]) -> None:
    predictions = output.data["predictions"]
    assert predictions
    for box in (one["box"] for one in predictions):
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] + 0.1
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1] + 0.1


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_odd_sizes_give_boxes_inside(context, size):
    assert_inside(detect(Image.new("RGB", size), context, confidence=0.01), size)


@pytest.mark.parametrize("size", [(1, 1), (100, 300), (300, 100)])
@pytest.mark.parametrize("family", Head)
def test_boxes_over_the_edge_are_cut_with_every_family(tmp_path, family, size):
    context = context_of(install_colour_detector(tmp_path, family, "own"))
    red = Image.new("RGB", size, (230, 0, 0))
    assert_inside(detect(red, context, model="own", confidence=0.01), size)


def test_a_users_own_file_works_once_added(tmp_path, monkeypatch):
    own = tmp_path / "shelf-watch.onnx"
    own.write_bytes(colour_detector(Head.YOLOV5))
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)

    context = context_of(ModelStore(tmp_path / "home" / "models"))
    assert cli.main(["add", str(own), "--task", "detect-objects"]) == 0
    image = squares()
    run = context(image)
    output = detect_objects.run(image, DetectObjectsParams(model="shelf-watch"), run)

    assert [(one["class"], one["class_id"]) for one in output.data["predictions"]] == [
        ("red", 0), ("blue", 2),
    ]  # fmt: skip
    assert run.used_models[0].name == "shelf-watch"

    # Another family, whose classes have other numbers.
    own.write_bytes(colour_detector(Head.YOLOX))
    assert cli.main(["add", str(own), "--task", "detect-objects"]) == 0
    output = detect(image, context, model="shelf-watch")

    assert [(one["class"], one["class_id"]) for one in output.data["predictions"]] == [
        ("red", 2), ("blue", 0),
    ]  # fmt: skip
