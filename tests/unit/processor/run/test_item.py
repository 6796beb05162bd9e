"""run_item: from stored bytes or a URL to a stored result, or to an error that says why."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from imagemill.settings import ProcessorSettings
from imagemill.storage import ObjectStore, open_store
from processor.run.item import ItemOutcome, ItemProcessor, ItemTask
from schemas.errors import ErrorClass, ErrorCode
from tests.support.misbehave import installed
from tests.support.pictures import picture, png_header

KEY = "uploads/job-00001/3"


def resized(width: int) -> tuple[str, dict[str, Any]]:
    return "transform", {"steps": [{"do": "resize", "width": width}]}


SMALL = resized(32)


@pytest.fixture
def settings(tmp_path: Path) -> ProcessorSettings:
    return ProcessorSettings(
        _env_file=None, home=tmp_path / "home", url_allow="127.0.0.1", max_image_bytes=200_000
    )


@pytest.fixture
def bench(settings: ProcessorSettings) -> Iterator[ItemProcessor]:
    processor = ItemProcessor(settings)
    yield processor
    processor.close()


@pytest.fixture
def store(settings: ProcessorSettings) -> ObjectStore:
    made = open_store(settings)
    made.put(KEY, picture("jpeg", 64, 48), "image/jpeg")
    return made


@pytest.fixture
def more_operations(tmp_path: Path) -> Iterator[None]:
    """Also the operations `misbehave` and `measure`, which make data."""
    with installed(tmp_path):
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server that has cup.jpg and page.html; its base URL."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "cup.jpg").write_bytes(picture("jpeg", 64, 48))
    (folder / "page.html").write_text("<!DOCTYPE html><p>no cup</p>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def item(*steps: tuple[str, dict[str, Any]], **fields: Any) -> ItemTask:
    return ItemTask("job-00001", 3, steps or (SMALL,), **({"key": KEY} | fields))


def error_of(outcome: ItemOutcome) -> tuple[ErrorCode, str]:
    assert outcome.result is None
    assert outcome.error is not None
    return outcome.error.code, outcome.error.message


def test_a_result_is_stored_and_described_as_it_is(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    outcome = bench.run_item(item(filename="cup.jpg"))
    assert outcome.error is None
    result = outcome.result
    data = store.get("results/job-00001/3.jpg")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (32, 24))
    assert result["url"].startswith("http://localhost:8080/files/results/job-00001/3.jpg?")
    assert {name: value for name, value in result.items() if name != "url"} == {
        "key": "results/job-00001/3.jpg",
        "content_type": "image/jpeg",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": 32,
        "height": 24,
        "data": None,
    }
    assert outcome.model is None
    assert set(outcome.timings_ms) == {"fetch", "infer", "store"}


def test_tasks_and_outcomes_travel_between_processes(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    task = pickle.loads(pickle.dumps(item(("transform", {"format": "gif", "quality": 300}))))
    outcome = pickle.loads(pickle.dumps(bench.run_item(task)))
    assert outcome.error.code is ErrorCode.PARAMS_INVALID
    assert outcome.error.error_class is ErrorClass.INPUT


@pytest.mark.usefixtures("more_operations")
def test_a_pipeline_hands_the_picture_on_and_keeps_each_operations_data(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    cut = ("transform", {"steps": [{"do": "crop", "width": 20, "height": 10}], "format": "webp"})
    outcome = bench.run_item(item(SMALL, cut, ("measure", {}), ("misbehave", {})))
    assert outcome.error is None
    result = outcome.result
    assert (result["key"], result["width"], result["height"]) == (
        "results/job-00001/3.webp",
        20,
        10,
    )
    assert set(result["data"]) == {"measure", "misbehave"}
    assert result["data"]["measure"] == {"width": 20, "height": 10}
    assert [stat.key for stat in store.iter_keys("results/")] == ["results/job-00001/3.webp"]


@pytest.mark.usefixtures("more_operations")
@pytest.mark.parametrize(
    ("steps", "data"),
    [
        ([("measure", {}), SMALL], {"measure": {"width": 64, "height": 48}}),
        (
            [("measure", {}), SMALL, ("measure", {})],
            {"measure": [{"width": 64, "height": 48}, {"width": 32, "height": 24}]},
        ),
        ([SMALL, ("noop", {})], None),
        # The first has it decoded at a quarter of its size; the second gets it at an eighth.
        ([resized(8), resized(16), ("measure", {})], {"measure": {"width": 8, "height": 6}}),
    ],
    ids=["once", "twice", "none", "small"],
)
def test_a_pipelines_data_is_under_the_names_of_its_operations(
    bench: ItemProcessor, store: ObjectStore, steps: list[tuple[str, dict[str, Any]]], data: Any
) -> None:
    outcome = bench.run_item(item(*steps))
    assert outcome.error is None
    assert outcome.result["data"] == data


@pytest.mark.parametrize("last", [("transform", {}), ("measure", {})])
@pytest.mark.usefixtures("more_operations")
def test_what_an_earlier_step_says_of_the_file_counts(
    bench: ItemProcessor, store: ObjectStore, last: tuple[str, dict[str, Any]]
) -> None:
    exif = Image.Exif()
    exif[0x8298] = "A. Miller"
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, "JPEG", exif=exif)
    store.put(KEY, file.getvalue(), "image/jpeg")
    fine, coarse = ({"format": "webp", "quality": quality} for quality in (90, 10))
    sizes = []
    for asked in (fine, coarse):
        result = bench.run_item(item(("transform", asked), last)).result
        with Image.open(io.BytesIO(store.get(result["key"]))) as image:
            assert (image.format, image.getexif()[0x8298]) == ("WEBP", "A. Miller")
        sizes.append(result["bytes"])
    assert sizes[1] < sizes[0] / 2
    result = bench.run_item(item(("transform", {"strip_metadata": True}), last)).result
    with Image.open(io.BytesIO(store.get(result["key"]))) as image:
        assert (image.format, dict(image.getexif())) == ("JPEG", {})


@pytest.mark.usefixtures("more_operations")
def test_data_alone_is_not_wrapped_and_stores_nothing(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    outcome = bench.run_item(item(("measure", {})))
    assert outcome.result == {"data": {"width": 64, "height": 48}}
    assert list(store.iter_keys("results/")) == []


def test_an_operation_without_an_image_needs_no_store(bench: ItemProcessor) -> None:
    assert bench.run_item(item(("noop", {}), key=None)).result == {"data": None}


def test_an_image_is_fetched_from_its_url(
    bench: ItemProcessor, store: ObjectStore, site: str
) -> None:
    outcome = bench.run_item(item(key=None, url=f"{site}/cup.jpg"))
    assert outcome.error is None
    assert outcome.result["width"] == 32


def test_a_page_in_place_of_an_image_is_the_senders_fault(bench: ItemProcessor, site: str) -> None:
    code, message = error_of(bench.run_item(item(key=None, url=f"{site}/page.html")))
    assert code is ErrorCode.IMAGE_UNDECODABLE
    assert "is a web page" in message


def test_an_address_that_is_not_public_is_refused(bench: ItemProcessor) -> None:
    outcome = bench.run_item(item(key=None, url="http://10.0.0.1/cup.jpg"))
    assert error_of(outcome)[0] is ErrorCode.URL_BLOCKED


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"no picture at all", ErrorCode.IMAGE_UNDECODABLE, "is not an image"),
        (picture("png")[:-20], ErrorCode.IMAGE_UNDECODABLE, "is cut off"),
        (png_header(10_000, 6_000), ErrorCode.IMAGE_TOO_LARGE, "60.0 megapixels"),
        (picture("bmp", 400, 400), ErrorCode.IMAGE_TOO_LARGE, "0.5 MB"),
    ],
)
def test_bad_images_fail_with_a_sentence(
    bench: ItemProcessor, store: ObjectStore, data: bytes, code: ErrorCode, words: str
) -> None:
    store.put(KEY, data, "image/png")
    found, message = error_of(bench.run_item(item()))
    assert found is code
    assert words in message
    assert list(store.iter_keys("results/")) == []


def test_an_upload_that_is_gone_says_so(bench: ItemProcessor) -> None:
    assert error_of(bench.run_item(item()))[0] is ErrorCode.IMAGE_MISSING
    assert error_of(bench.run_item(item(key=None)))[0] is ErrorCode.IMAGE_MISSING


def test_an_operation_of_another_version_is_unknown(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    code, message = error_of(bench.run_item(item(("levitate", {}))))
    assert code is ErrorCode.OPERATION_UNKNOWN
    assert "'levitate'" in message


def test_params_are_checked_before_any_step_is_done(
    bench: ItemProcessor, store: ObjectStore
) -> None:
    wrong = ("transform", {"steps": [{"do": "blur", "sigma": 0}]})
    outcome = bench.run_item(item(SMALL, wrong))
    assert error_of(outcome) == (
        ErrorCode.PARAMS_INVALID,
        "steps.0.blur.sigma: Input should be greater than 0",
    )
    assert outcome.timings_ms == {}


def test_a_store_that_does_not_answer_is_worth_another_try(settings: ProcessorSettings) -> None:
    unreachable = settings.model_copy(
        update={
            "object_store_url": "s3://bucket",
            "s3_endpoint_url": "http://127.0.0.1:1",
            "aws_access_key_id": "id",
            "aws_secret_access_key": SecretStr("key"),
            "aws_region": "here",
            "s3_attempts": 1,
        }
    )
    outcome = ItemProcessor(unreachable).run_item(item())
    assert error_of(outcome)[0] is ErrorCode.STORE_UNAVAILABLE
    assert outcome.error.transient
    assert not outcome.permanent


@pytest.mark.usefixtures("more_operations")
def test_a_surprise_is_logged_and_told_without_its_details(
    bench: ItemProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = bench.run_item(item(("misbehave", {"how": "raise"}), key=None))
    assert error_of(outcome) == (
        ErrorCode.INTERNAL,
        "The operation failed unexpectedly (LookupError).",
    )
    assert "some secret" in caplog.text


@pytest.mark.usefixtures("more_operations")
@pytest.mark.parametrize("others", [0, 1])
def test_an_operation_that_exits_fails_its_item_alone(bench: ItemProcessor, others: int) -> None:
    well = [item(("misbehave", {}), key=None)] * others
    exiting, *rest = bench.run_items([item(("misbehave", {"how": "exit"}), key=None), *well])
    assert error_of(exiting) == (
        ErrorCode.INTERNAL,
        "The operation failed unexpectedly (SystemExit).",
    )
    assert [one.error for one in rest] == [None] * others
