"""Real models in batches: results equal those of single runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagemill.settings import ProcessorSettings
from imagemill.storage import ObjectStore, open_store
from processor.operations.detection.heads import Head
from processor.run.item import ItemOutcome, ItemProcessor, ItemTask
from schemas.errors import ErrorCode
from tests.support.detectors import install_colour_detector, squares
from tests.support.models import real_store

pytestmark = pytest.mark.longest

Make = Callable[..., ItemProcessor]


@pytest.fixture
def store(tmp_path: Path, photos: Path) -> ObjectStore:
    """Pictures of several sizes and modes, and a file that is no picture, in `uploads/job-1`."""
    made = open_store(ProcessorSettings(_env_file=None, home=tmp_path))
    pictures = {name: Image.open(photos / f"{name}.png") for name in ("astronaut", "chelsea")}
    cup = pictures["cup"] = Image.open(photos / "coffee.png").convert("RGB")
    pictures["narrow"] = cup.resize((90, 400))
    pictures["squares"] = squares()
    pictures["grey"] = pictures["chelsea"].convert("L")
    pictures["ghost"] = cup.copy()
    pictures["ghost"].putalpha(Image.linear_gradient("L").resize(cup.size))
    for name, image in pictures.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        made.put(f"uploads/job-1/{name}", buffer.getvalue(), "image/png")
    made.put("uploads/job-1/broken", b"no picture at all", "image/png")
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Make:
    """Make an item processor that batches, with the models of a folder."""

    def make(models: Path, **settings: Any) -> ItemProcessor:
        fields = {"home": tmp_path, "models_dir": models, "batch_size": 8} | settings
        return ItemProcessor(ProcessorSettings(_env_file=None, **fields))

    return make


def tasks(names: str, operation: str, **params: Any) -> list[ItemTask]:
    return [
        ItemTask("job-1", place, ((operation, params),), key=f"uploads/job-1/{name}")
        for place, name in enumerate(names.split())
    ]


def alpha_of(store: ObjectStore, outcome: ItemOutcome) -> np.ndarray:
    assert outcome.error is None, outcome.error
    with Image.open(io.BytesIO(store.get(outcome.result["key"]))) as image:
        return np.asarray(image.getchannel("A")).astype(int)


@pytest.mark.parametrize("provider", ["openvino", "cpu"])
def test_cut_outs_are_those_of_single_runs(
    bench: Make, store: ObjectStore, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    models = real_store("u2netp").home
    work = bench(models, execution_providers=f"{provider},cpu")
    items = tasks("astronaut narrow broken grey ghost chelsea", "remove-background", model="u2netp")
    alone = [work.run_item(item) for item in items]
    expected = [None if one.error else alpha_of(store, one) for one in alone]
    assert f"Loaded u2netp (exact) on {alone[0].model['provider']}, 8 a call" in caplog.text

    outcomes = work.run_items(items)

    assert outcomes[2].error.code is ErrorCode.IMAGE_UNDECODABLE
    for outcome, wanted in zip(outcomes, expected, strict=True):
        if wanted is not None:
            assert outcome.batches
            alpha = alpha_of(store, outcome)
            assert alpha.shape == wanted.shape
            assert np.abs(alpha - wanted).max() <= 1
    assert [one.model for one in outcomes] == [one.model for one in alone]


@pytest.mark.parametrize("family", Head)
@pytest.mark.parametrize("batches", [True, False])
def test_detections_are_those_of_single_runs(
    bench: Make,
    store: ObjectStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    family: Head,
    batches: bool,
) -> None:
    install_colour_detector(tmp_path / "models", family, "own", batch="n" if batches else 1)
    work = bench(tmp_path / "models")
    outcomes = assert_detections_are_those_of_single_runs(work, "own", batches, caplog)
    seen = [one["class"] for one in outcomes[1].result["data"]["predictions"]]
    assert seen == ["red", "blue"]


@pytest.mark.parametrize(
    ("model", "batches"),
    # Only YOLOX's graph works its sizes out from a batch of 1.
    [("yolov5n", True), ("yolox_nano", False)],
)
def test_detections_of_trained_models_are_those_of_single_runs(
    bench: Make,
    store: ObjectStore,
    shared: Path,
    caplog: pytest.LogCaptureFixture,
    model: str,
    batches: bool,
) -> None:
    work = bench(shared / "models")
    outcomes = assert_detections_are_those_of_single_runs(work, model, batches, caplog)
    assert [found["class"] for found in outcomes[3].result["data"]["predictions"]][:1] == ["cup"]


def assert_detections_are_those_of_single_runs(
    work: ItemProcessor, model: str, batches: bool, caplog: pytest.LogCaptureFixture
) -> list[ItemOutcome]:
    items = tasks("astronaut squares broken cup narrow grey", "detect-objects", model=model)
    alone = [work.run_item(item) for item in items]
    outcomes = work.run_items(items)
    assert outcomes[2].error.code is ErrorCode.IMAGE_UNDECODABLE
    for outcome, wanted in zip(outcomes, alone, strict=True):
        assert outcome.batches == (batches and outcome.error is None)
        if wanted.error is None:
            assert outcome.result == wanted.result
    reason = f"{model} takes one picture a call: "
    assert (reason in caplog.text) == (not batches)
    return outcomes


@pytest.mark.parametrize("precision", ["balanced", "fast"])
def test_low_precisions_take_one_picture(
    bench: Make, store: ObjectStore, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    work = bench(real_store("u2netp").home, precision=precision)
    items = tasks("cup narrow", "remove-background", model="u2netp")
    alone = [work.run_item(item) for item in items]
    if alone[0].error is not None:
        # This machine lacks what the precision needs, and says so.
        assert alone[0].error.code is ErrorCode.MODEL_UNAVAILABLE
        return
    outcomes = work.run_items(items)
    for outcome, single in zip(outcomes, alone, strict=True):
        assert not outcome.batches
        assert outcome.result["sha256"] == single.result["sha256"]
    assert f"u2netp takes one picture a call: precision {precision}" in caplog.text


def test_matting_side_by_side_is_done_one_at_a_time(bench: Make, store: ObjectStore) -> None:
    work = bench(real_store("u2netp").home)
    items = tasks("narrow narrow", "remove-background", model="u2netp", alpha_matting=True)
    first, second = work.run_items(items)
    np.testing.assert_array_equal(alpha_of(store, first), alpha_of(store, second))
