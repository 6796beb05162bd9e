"""detect-objects without a model in its params: the default detector, fetched as users do."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imagemill.operations import RunContext, SourceInfo
from processor.models.loader import ModelLoader
from processor.operations import detect_objects
from schemas.params.detect_objects import DetectObjectsParams
from tests.support.models import real_store


@pytest.fixture(scope="module")
def loader() -> ModelLoader:
    return ModelLoader(real_store("ssdlite_mobilenet_v2"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", [("cat", 15, 0.94, (1, 3, 402, 295))]),
        (
            "coffee",
            [("cup", 41, 0.96, (174, 23, 242, 231)), ("dining table", 60, 0.72, (0, 3, 600, 392))],
        ),
        ("astronaut", [("person", 0, 0.65, (27, 8, 341, 472))]),
    ],
)
def test_finds_what_the_photo_shows(loader: ModelLoader, photos: Path, name, expected):
    image = Image.open(photos / f"{name}.png").convert("RGB")
    context = RunContext(loader, SourceInfo("PNG", image.size, bytes=1), max_pixels=10**8)
    predictions = detect_objects.run(image, DetectObjectsParams(), context).data["predictions"]

    assert [(one["class"], one["class_id"]) for one in predictions] == [e[:2] for e in expected]
    for one, (_, _, confidence, box) in zip(predictions, expected, strict=True):
        assert one["confidence"] == pytest.approx(confidence, abs=0.01)
        assert tuple(one["box"].values()) == pytest.approx(box, abs=3)
    assert context.used_models[0].name == "ssdlite_mobilenet_v2"
