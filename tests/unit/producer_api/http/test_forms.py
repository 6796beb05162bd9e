"""Bodies of requests as models, before any of it is queued."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from producer_api.http.forms import (
    FIELDS,
    MAX_JSON_DEPTH,
    InputBody,
    SubmitBody,
    WebhookBody,
    from_fields,
    http_url,
    parse_json,
)
from producer_api.http.problems import Problem
from producer_api.routes.templates import TemplateBody
from producer_api.routes.uploads import UploadBody
from schemas import cloudevents
from schemas.events import CancelRequested
from tests.support.json_values import accepts, near
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


BODIES: dict[str, type[BaseModel]] = {
    "submit": SubmitBody,
    "input": InputBody,
    "webhook": WebhookBody,
    "upload": UploadBody,
    "template": TemplateBody,
}
SCHEMAS = {name: model.model_json_schema() for name, model in BODIES.items()}
VALUES = {name: near(schema) for name, schema in SCHEMAS.items()}


def with_good_urls(value: object) -> object:
    """The same value; the form of a URL is more than a JSON Schema says."""
    if isinstance(value, list):
        return [with_good_urls(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "https://example.org/a.png"
        if name == "url" and isinstance(entry, str)
        else with_good_urls(entry)
        for name, entry in value.items()
    }


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_body_is_taken_exactly_when_its_published_schema_says_so(
    name: str, data: st.DataObject
) -> None:
    value = with_good_urls(data.draw(VALUES[name]))
    try:
        BODIES[name].model_validate(value)
        valid = True
    except ValidationError:
        valid = False
    assert valid == accepts(SCHEMAS[name], value), value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"operation": 5}, "operation"),
        ({"operation": True}, "operation"),
        ({"expires_in": "60"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 60.5}, "expires_in"),
        ({"expires_in": 0}, "expires_in"),
        ({"metadata": [1]}, "metadata"),
        ({"params": "{}"}, "params"),
        ({"operations": {"operation": "noop"}}, "operations"),
        ({"operations": [5]}, "operations.0"),
        ({"operations": [{"operation": "noop", "params": []}]}, "operations.0.params"),
        ({"inputs": {"url": "https://example.org/a"}}, "inputs"),
        ({"inputs": ["https://example.org/a"]}, "inputs.0"),
        ({"webhook": "https://example.org/a"}, "webhook"),
        ({"webhook": {"url": "https://example.org/a", "events": "job.started"}}, "webhook.events"),
        ({"webhook": {"url": "https://example.org/a", "events": ["x"]}}, "webhook.events.0"),
        ({"priority": 1}, "priority"),
        ({"template": ["a"]}, "template"),
    ],
)
def test_a_json_value_of_another_type_is_named_in_the_words_of_json(
    body: dict[str, object], field: str
) -> None:
    problem = problem_of(parse_json, json.dumps(body).encode(), SubmitBody)
    assert (problem.status, problem.members["errors"][0]["field"]) == (422, field)
    words = ("dictionary", "tuple", "instance", "Body")
    assert not [word for word in words if word in problem.detail]


def test_a_number_without_a_fraction_is_a_whole_one() -> None:
    """As in JSON Schema, which knows no other difference."""
    assert parse_json(b'{"expires_in": 60.0}', SubmitBody).expires_in == 60


@pytest.mark.parametrize("text", ["60.0", "6e1", " 60", "+60", "true", "", "\u0666\u0660"])
def test_a_number_in_a_form_is_in_decimal_digits(text: str) -> None:
    problem = problem_of(from_fields, {"expires_in": [text]})
    assert problem.members["errors"][0]["field"] == "expires_in"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"operation": "noop", "operation": "read-text"}', "operation"),
        (b'{"operation": "noop", "params": {"a": 1, "b": 2, "a": 1}}', "a"),
        (b'{"inputs": [{"url": "https://a.org/", "url": "https://b.org/"}]}', "url"),
    ],
)
def test_a_member_that_an_object_has_twice_is_refused(raw: bytes, name: str) -> None:
    problem = problem_of(parse_json, raw, SubmitBody)
    assert (problem.status, problem.code) == (422, "fields_invalid")
    assert problem.members["errors"] == [{"field": name, "message": "given more than once"}]


def test_a_member_that_a_form_field_has_twice_is_refused() -> None:
    problem = problem_of(from_fields, {"params": ['{"find": "a", "find": "b"}']})
    assert "find: given more than once" in problem.detail


def test_a_form_has_the_fields_of_the_json_body() -> None:
    same = SubmitBody.model_fields.keys() - {"inputs", "webhook"}
    assert same | {"image_url", "webhook_url"} == FIELDS
    assert {"expires_in", "metadata", "operation", "operations", "params", "priority"} <= same
