"""Models that are asked for several pictures in one call, and those that cannot be."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from imagemill.operations import OperationError
from processor.models.batching import BatchBarrier
from processor.models.convert.open_batch import with_open_batch
from processor.models.convert.rewrite import RewriteError
from processor.models.loader import ModelLoader
from processor.models.providers import batch_limit, batch_sizes
from processor.models.session import Session
from processor.models.store import ModelStore
from schemas.errors import ErrorCode
from tests.support.models import (
    brightness_entry,
    brightness_model,
    counting_entry,
    counting_model,
    install,
)


@pytest.mark.parametrize(
    ("wanted", "provider", "limit"),
    [
        (None, "cpu", 1),
        (None, "openvino", 1),
        (None, "coreml", 1),
        (None, "cuda", 8),
        (None, "tensorrt", 8),
        (4, "cpu", 4),
        (1, "cuda", 1),
    ],
)
def test_batches_are_for_gpus_unless_set(wanted: int | None, provider: str, limit: int) -> None:
    assert batch_limit(wanted, provider) == limit


@pytest.mark.parametrize(
    ("provider", "limit", "sizes"),
    [
        ("cuda", 8, (1, 2, 4, 8)),
        ("tensorrt", 6, (1, 2, 4, 6)),
        ("cuda", 1, (1,)),
        ("openvino", 3, (1, 2, 3)),
    ],
)
def test_gpus_meet_few_sizes(provider: str, limit: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(provider, limit) == sizes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "models"


def counting(home: Path, data: bytes, size: int | None = 4) -> Session:
    store = install(home, data, counting_entry(data))
    return ModelLoader(store, providers="cpu", batch_size=size).session("counting")


def grey(level: float, side: int = 4) -> NDArray[np.float32]:
    return np.full((1, 3, side, side), level, np.float32)


def together(session: Session, *pictures: NDArray[np.float32]) -> list[NDArray | OperationError]:
    """Return what the session gives each of the pictures, which share a barrier."""
    barrier = BatchBarrier(len(pictures))
    results: list[NDArray | OperationError] = [np.empty(0)] * len(pictures)

    def run(place: int) -> None:
        with barrier.attended():
            try:
                results[place] = session.run(pictures[place])
            except OperationError as error:
                results[place] = error

    threads = [threading.Thread(target=run, args=[place]) for place in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_pictures_that_meet_share_a_call_and_get_their_own_row(home: Path) -> None:
    session = counting(home, counting_model())
    assert session.batches
    results = together(session, grey(1), grey(2), grey(3))
    np.testing.assert_array_equal(np.concatenate(results), [[3, 1], [3, 2], [3, 3]])


def test_a_call_is_filled_up_to_the_next_size(home: Path) -> None:
    plain = counting(home, counting_model())
    session = Session(plain.entry, plain.used, plain.inference, plain.output, (1, 2, 4))
    results = together(session, grey(1), grey(2), grey(3))
    np.testing.assert_array_equal(np.concatenate(results), [[4, 1], [4, 2], [4, 3]])
    session.warm()


def test_pictures_of_other_sizes_do_not_share_a_call(home: Path) -> None:
    data = counting_model(side="any")
    session = counting(home, data)
    results = together(session, grey(1), grey(2), grey(3, side=6))
    np.testing.assert_array_equal(np.concatenate(results), [[2, 1], [2, 2], [1, 3]])


def test_outside_a_batch_a_picture_is_alone(home: Path) -> None:
    np.testing.assert_array_equal(counting(home, counting_model()).run(grey(5)), [[1, 5]])


def test_without_batching_pictures_are_alone(home: Path) -> None:
    session = counting(home, counting_model(), size=None)
    assert not session.batches
    results = together(session, grey(1), grey(2))
    np.testing.assert_array_equal(np.concatenate(results), [[1, 1], [1, 2]])


def test_where_the_call_fails_each_is_asked_alone_and_the_model_never_again(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = counting(home, counting_model(1), size=None)
    session = Session(plain.entry, plain.used, plain.inference, plain.output, (1, 2))
    for _ in range(2):
        results = together(session, grey(1), grey(2))
        np.testing.assert_array_equal(np.concatenate(results), [[1, 1], [1, 2]])
    assert not session.batches
    [said] = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert said.startswith("counting takes one picture a call from now on: ")


def test_a_picture_that_fails_alone_too_fails_alone(home: Path) -> None:
    session = counting(home, counting_model())
    wrong = np.zeros((1, 2, 4, 4), np.float32)
    first, bad, last = together(session, grey(1), wrong, grey(3))
    np.testing.assert_array_equal(np.concatenate([first, last]), [[2, 1], [2, 3]])
    assert isinstance(bad, OperationError)
    assert bad.error.code is ErrorCode.MODEL_FAILED
    assert session.batches


def test_a_file_that_fixes_one_picture_is_opened_where_the_results_are_the_same(
    home: Path,
) -> None:
    data = brightness_model()
    loader = ModelLoader(install(home, data, brightness_entry(data)), batch_size=4)
    session = loader.session("brightness")
    assert session.batches
    assert loader.batches([session.used])
    levels = [np.full((1, 3, 32, 32), level, np.float32) for level in (0.4, 0.5, 0.6)]
    for many, level in zip(together(session, *levels), levels, strict=True):
        assert many.shape == (1, 1, 32, 32)
        np.testing.assert_array_equal(many, session.run(level))


def test_a_file_whose_pictures_would_see_each_other_stays_as_it_is(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = counting(home, counting_model(1))
    assert not session.batches
    results = together(session, grey(1), grey(2))
    np.testing.assert_array_equal(np.concatenate(results), [[1, 1], [1, 2]])
    reason = "counting takes one picture a call: pictures together do not give what each gives"
    assert reason in caplog.text
    [kept] = (home / "prepared").glob("*.refused")
    written = kept.stat().st_mtime_ns
    caplog.clear()
    assert not counting(home, counting_model(1)).batches
    assert reason in caplog.text
    assert kept.stat().st_mtime_ns == written


def test_a_try_that_fails_to_run_is_not_kept_as_the_models_answer(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = counting(home, counting_model(1, reshaped=True))
    assert not session.batches
    assert "counting takes one picture a call: two pictures at once could not be tried" in (
        caplog.text
    )
    assert list((home / "prepared").glob("*.refused")) == []


def test_the_opened_copy_is_made_once(home: Path) -> None:
    data = brightness_model()
    store = install(home, data, brightness_entry(data))
    ModelLoader(store, batch_size=2).session("brightness")
    [kept] = (home / "prepared").glob("*batched*.onnx")
    written = kept.stat().st_mtime_ns
    assert ModelLoader(store, batch_size=4).session("brightness").batches
    assert kept.stat().st_mtime_ns == written


def test_the_limit_is_known_before_a_model_is_loaded(home: Path) -> None:
    store = ModelStore(home)
    assert ModelLoader(store, providers="cpu").batch_limit == 1
    assert ModelLoader(store, providers="cpu", batch_size=3).batch_limit == 3


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"x": [1, 3, 4, 4]}, [5], "no batch dimension"),
        ({"x": [2, 3, 4, 4]}, [2, 3, 4, 4], "no batch dimension"),
        ({"x": [1, 3, "h", "w"]}, [1, 3, "h", "w"], "not of a fixed size"),
        ({"x": [1, 3, 4, 4], "y": [1, 3, 4, 4]}, [1, 3, 4, 4], "not one picture"),
        ({"x": [1, 48]}, [1, 48], "not one picture"),
    ],
)
def test_what_cannot_be_opened_says_why(
    inputs: dict[str, list[int | str]], outputs: list[int | str], reason: str
) -> None:
    floats = TensorProto.FLOAT
    node = helper.make_node("Sum", list(inputs), ["out"])
    graph = helper.make_graph(
        [node],
        "any",
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("out", floats, outputs)],
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(RewriteError, match=reason):
        with_open_batch(model.SerializeToString(), None)


def test_no_model_is_an_error() -> None:
    with pytest.raises(RewriteError, match="not an ONNX file"):
        with_open_batch(b"\xff\xfe", None)
