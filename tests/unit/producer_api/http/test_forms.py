"""Bodies of requests as models, before any of it is queued."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from producer_api.http.forms import MAX_JSON_DEPTH, SubmitBody, from_fields, http_url, parse_json
from producer_api.http.problems import Problem
from producer_api.routes.templates import TemplateBody
from schemas import cloudevents
from schemas.events import CancelRequested
from tests.support.messages import submitted


def problem_of(call: object, *arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


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
