"""What the API makes of request bodies, before any of it is queued."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from pydantic import BaseModel

from imagemill.images.check import ImageLimits
from imagemill.storage import LocalStore, UrlSigner
from producer_api.http.forms import MAX_JSON_DEPTH, SubmitBody, from_fields, http_url, parse_json
from producer_api.http.multipart import FormLimits, FormSpec, read_form
from producer_api.http.problems import Problem
from producer_api.jobs.ids import id_of_key, is_job_id, new_id
from producer_api.jobs.plan import PIPELINE, make_plan
from producer_api.jobs.staging import Staging, clean_filename
from producer_api.routes.templates import TemplateBody
from schemas import cloudevents
from schemas.events import CancelRequested
from schemas.templates import Template
from tests.support.messages import submitted
from tests.support.pictures import picture


def problem_of(call: object, *arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def planned(template: Template | None = None, **body: object):
    return make_plan(SubmitBody.model_validate(body), template)


def test_ids_are_uuids_that_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert [text[:13] for text in ids] == sorted(text[:13] for text in ids)
    assert all(map(is_job_id, ids))


def test_an_idempotency_key_always_stands_for_the_same_id() -> None:
    assert id_of_key("order-1") == id_of_key("order-1") != id_of_key("order-2")


@pytest.mark.parametrize(
    "text", ["short", "a" * 65, "has space", "../../etc", "sl/ash-sl", "new\nline-", "trailing\n"]
)
def test_ids_that_no_job_may_have(text: str) -> None:
    assert not is_job_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/a.png", "example.org/a.png", "/a.png", "http://", "https:///a.png",
        "http://user:secret@example.org/a.png", "http://example.org:0/", "http://exa mple.org/",
        "http://[::1/a.png", "http://example.org/" + "a" * 5000, "javascript:alert(1)",
        "http://example.org/\n",
    ],
)  # fmt: skip
def test_image_urls_must_be_plain_absolute_http_urls(text: str) -> None:
    problem = problem_of(from_fields, {"operation": ["noop"], "image_url": [text]})
    assert problem.status == 422
    assert problem.members["errors"][0]["field"] == "inputs.0.url"


def test_a_good_url_is_kept_as_it_is() -> None:
    url = "https://example.org:8443/a%20b.png?x=1#y"
    assert http_url(url) == url


def test_form_fields_make_the_same_body_as_json() -> None:
    form = from_fields(
        {
            "operation": ["detect-objects"], "params": ['{"confidence": 0.5}'],
            "priority": ["high"], "webhook_url": ["https://example.org/hook"],
            "metadata": ['{"order": 7}'], "image_url": ["https://example.org/a.png"],
            "expires_in": ["60"],
        }
    )  # fmt: skip
    json = parse_json(
        b"""{"operation": "detect-objects", "params": {"confidence": 0.5}, "priority": "high",
        "webhook": {"url": "https://example.org/hook"}, "metadata": {"order": 7},
        "inputs": [{"url": "https://example.org/a.png"}], "expires_in": 60}""",
        SubmitBody,
    )
    assert form == json


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"params": ["{no json"]}, "params_invalid", "params"),
        ({"metadata": ["[1, 2]"]}, "fields_invalid", "metadata"),
        ({"priority": ["urgent"]}, "fields_invalid", "priority"),
        ({"operation": ["a", "b"]}, "fields_invalid", "operation"),
        ({"webhook_url": ["nowhere"]}, "fields_invalid", "webhook.url"),
        ({"expires_in": ["soon"]}, "fields_invalid", "expires_in"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, list[str]], code: str, field: str) -> None:
    problem = problem_of(from_fields, fields)
    assert (problem.status, problem.code) == (422, code)
    assert problem.members["errors"][0]["field"] == field
    assert field in problem.detail


def nested(levels: int) -> dict[str, object]:
    """An object around an object ..., or around lists, so many of them."""
    value: object = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("levels", [MAX_JSON_DEPTH + 1, 254, 900])
@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (SubmitBody, lambda deep: {"metadata": deep}, "metadata"),
        (SubmitBody, lambda deep: {"params": deep}, "params"),
        (
            SubmitBody,
            lambda deep: {"operations": [{"operation": "noop", "params": deep}]},
            "operations.0.params",
        ),
        (TemplateBody, lambda deep: {"name": "a", "params": deep}, "params"),
    ],
)
def test_json_that_not_every_reader_could_read_is_refused(
    levels: int, model: type[BaseModel], body: Callable[[object], object], field: str
) -> None:
    problem = problem_of(parse_json, json.dumps(body(nested(levels))).encode(), model)
    assert (problem.status, problem.members["errors"][0]["field"]) == (422, field)
    assert "32 levels" in problem.detail


def test_metadata_as_deep_as_it_may_be_is_read_in_every_event() -> None:
    body = parse_json(json.dumps({"metadata": nested(MAX_JSON_DEPTH)}).encode(), SubmitBody)
    job = submitted("job-00001", metadata=body.metadata)
    event = CancelRequested(job_id=job.job_id, at=job.created_at, job=job)
    value, headers = cloudevents.encode(event)
    assert cloudevents.decode(headers, value) == event


def test_unknown_members_of_json_are_named() -> None:
    problem = problem_of(
        parse_json, b'{"operation": "noop", "size": 3, "colour": "red"}', SubmitBody
    )
    assert problem.code == "fields_unknown"
    assert "size, colour" in problem.detail


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b"", b'"text"'])
def test_a_body_that_is_no_json_object_is_a_400(raw: bytes) -> None:
    assert problem_of(parse_json, raw, SubmitBody).status == 400


@pytest.mark.parametrize("entry", [{}, {"url": "http://a.org/", "upload_id": "abcdefgh"}])
def test_an_input_has_one_source(entry: dict[str, str]) -> None:
    with pytest.raises(Exception, match="either url or upload_id"):
        SubmitBody.model_validate({"inputs": [entry]})


def test_params_are_kept_in_normal_form_without_defaults() -> None:
    plan = planned(operation="detect-objects", params={"confidence": "0.5", "iou": 0.45})
    assert plan.params == {"confidence": 0.5, "iou": 0.45}
    assert planned(operation="detect-objects").params == {}


def test_bad_params_are_named_each() -> None:
    problem = problem_of(
        lambda: planned(operation="detect-objects", params={"confidence": 7, "iou": "x"})
    )
    assert (problem.status, problem.code) == (422, "params_invalid")
    fields = [error["field"] for error in problem.members["errors"]]
    assert fields == ["params.confidence", "params.iou"]


def test_unknown_params_are_named() -> None:
    problem = problem_of(lambda: planned(operation="detect-objects", params={"sharpness": 7}))
    assert problem.status == 422
    assert "params.sharpness" in problem.detail


def test_an_unknown_operation_is_told_with_those_there_are() -> None:
    problem = problem_of(lambda: planned(operation="make-coffee"))
    assert (problem.status, problem.code) == (422, "operation_unknown")
    assert "detect-objects" in problem.detail


def test_without_an_operation_there_is_no_job() -> None:
    assert problem_of(planned).code == "operation_missing"


def test_several_operations_are_a_pipeline() -> None:
    plan = planned(
        operations=["remove-background", {"operation": "read-text", "params": {"find": "a"}}]
    )
    assert plan.operation == PIPELINE
    assert [step.operation for step in plan.pipeline] == ["remove-background", "read-text"]
    assert plan.pipeline[1].params == {"find": "a"}


def test_one_operation_in_a_list_is_no_pipeline() -> None:
    plan = planned(operations=[{"operation": "read-text", "params": {"find": "a"}}])
    assert (plan.operation, plan.params, plan.pipeline) == ("read-text", {"find": "a"}, ())


def test_a_bad_step_is_named_by_its_number() -> None:
    problem = problem_of(
        lambda: planned(
            operations=["read-text", {"operation": "read-text", "params": {"find": ""}}]
        )
    )
    assert problem.members["errors"][0]["field"] == "operations.1.params.find"


def test_params_beside_a_template_override_its_own() -> None:
    template = Template(operation="detect-objects", params={"confidence": 0.3, "iou": 0.2})
    plan = planned(template, params={"iou": 0.9})
    assert plan.operation == "detect-objects"
    assert plan.params == {"confidence": 0.3, "iou": 0.9}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cup.png", "cup.png"), ("../../etc/passwd", "passwd"), ("C:\\photos\\cup.png", "cup.png"),
        ("a\x00b\n.png", "ab.png"), ("", None), (None, None), ("/", None),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
    ],
)  # fmt: skip
def test_file_names_are_names_only(given: str | None, kept: str | None) -> None:
    assert clean_filename(given) == kept


FORM = FormSpec(files=frozenset({"image"}), fields=frozenset({"params", "metadata", "operation"}))
LIMITS = FormLimits(max_items=2, max_field_bytes=1024, max_image_bytes=20_000)


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def sent(*parts: bytes) -> web.Request:
    """A multipart request of unknown length."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
    for data in (*parts, b"--b--\r\n"):
        reader.feed_data(data)
    reader.feed_eof()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return make_mocked_request("POST", "/v1/jobs", headers, payload=reader)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects", "http://127.0.0.1", UrlSigner("a secret of tests"))


@pytest.mark.parametrize(
    "parts",
    [
        [part("unknown", b"x" * 10_000)] * 40,
        [part("image", b"", "")] * 67,
        [part("params", b"x" * 1000)] * 5,
        [part("image", picture(), "a.jpg")] * 3,
    ],
    ids=["bytes of no field", "empty files", "fields", "images"],
)
async def test_a_form_of_unknown_length_has_an_end(store: LocalStore, parts: list[bytes]) -> None:
    async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
        with pytest.raises(Problem) as caught:
            await read_form(sent(*parts), FORM, LIMITS, staging)
    assert caught.value.status == 413


async def test_the_largest_form_is_read(store: LocalStore) -> None:
    images = [part("image", picture(), "a.jpg")] * 2
    empty = [part("image", b"", "")] * 62
    texts = [part(name, b"x" * 1024) for name in ("params", "metadata")]
    async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
        form = await read_form(sent(*empty, *images, *texts), FORM, LIMITS, staging)
        assert form.items == len(staging.images) == 2
    assert form.text("metadata") == "x" * 1024


async def test_a_form_is_let_go_of_without_the_collector(store: LocalStore) -> None:
    """It walks all that there is, and the API answers nobody meanwhile."""
    gc.disable()
    try:
        async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
            form = await read_form(sent(part("image", picture(), "a.jpg")), FORM, LIMITS, staging)
        kept = weakref.ref(staging), weakref.ref(form)
        del staging, form
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(("memory", "in_memory"), [(100_000, 4), (0, 0), (None, 12)])
async def test_images_above_a_requests_memory_wait_on_disk(
    store: LocalStore, memory: int | None, in_memory: int
) -> None:
    image = picture() + bytes(24_000)
    async with Staging(store, "uploads/job-00001.", ImageLimits(), memory) as staging:
        before = len(os.listdir("/dev/fd"))
        for index in range(12):
            incoming = staging.begin(index, "a.jpg")
            for start in range(0, len(image), 7000):
                incoming.write(image[start : start + 7000])
            staging.end(incoming)
        held = [image.writer.held for image in staging.images]
        assert held == [len(image)] * in_memory + [0] * (12 - in_memory)
        assert len(os.listdir("/dev/fd")) == before
        digest = hashlib.sha256(image).hexdigest()
        assert {staged.writer.digest() for staged in staging.images} == {digest}
        for stored in await staging.commit():
            assert store.get(stored.key) == image
            assert stored.sha256 == digest
        staging.keep()
