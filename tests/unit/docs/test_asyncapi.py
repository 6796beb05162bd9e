"""docs/asyncapi.yaml describes every message that the services write, and every sample fits it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas.topics import TOPICS

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "tests" / "unit" / "schemas" / "samples").glob("*.json"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema whose references are into the document."""
    return Draft202012Validator(document | schema)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _references(each)


def _follow(document: dict[str, Any], reference: str) -> Any:
    place: Any = document
    for name in reference.removeprefix("#/").split("/"):
        place = place[name]
    return place


def test_every_topic_has_its_channel_with_its_messages(document):
    assert document["asyncapi"] == "3.0.0"
    assert list(document["channels"]) == [topic.name for topic in TOPICS]
    assert all(channel["messages"] for channel in document["channels"].values())
    sent = {
        operation["channel"]["$ref"]
        for operation in document["operations"].values()
        if operation["action"] == "send"
    }
    assert sent == {f"#/channels/{topic.name}" for topic in TOPICS}


def test_every_reference_leads_somewhere(document):
    references = set(_references(document))
    assert len(references) > 20
    for reference in references:
        assert _follow(document, reference)


def test_every_payload_is_a_valid_schema(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def _message(document: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    messages = {each["name"]: each for each in document["components"]["messages"].values()}
    return messages[sample["headers"]["ce_type"]]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_what_was_ever_published_fits_the_payload_of_its_message(path, document):
    sample = json.loads(path.read_text())
    _validator(document, _message(document, sample)["payload"]).validate(sample["value"])


@pytest.mark.parametrize(
    "path",
    # A client need not write the whole envelope; imagemill always does.
    [path for path in SAMPLES if not path.stem.endswith(".smallest")],
    ids=lambda path: path.stem,
)
def test_what_imagemill_publishes_has_the_headers_of_its_message(path, document):
    sample = json.loads(path.read_text())
    _validator(document, _message(document, sample)["headers"]).validate(sample["headers"])


def test_what_does_not_fit_is_refused(document):
    message = document["components"]["messages"]["JobFinished"]
    errors = list(_validator(document, message["payload"]).iter_errors({"job_id": "a/b"}))

    assert any("'status' is a required property" in error.message for error in errors)
    assert any("does not match" in error.message for error in errors)
