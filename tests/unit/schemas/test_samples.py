"""What was ever published is readable for ever: a sample of every event of every version.

A sample is never changed or removed. A new field gets a default, a new version a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import cloudevents
from schemas.events import EVENTS, JobSubmitted
from schemas.webhooks import WEBHOOK_COMMANDS, WEBHOOK_EVENTS

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.json"))
_STATE = "io.imagemill.job.state.v1"
_ITEM = "io.imagemill.item.state.v1"


def _read(path: Path) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    sample = json.loads(path.read_text())
    return [(name, text.encode()) for name, text in sample["headers"].items()], sample["value"]


def _decode(headers: list[tuple[str, bytes]], value: bytes) -> Any:
    kind = cloudevents.event_type(headers)
    if kind == _STATE:
        return cloudevents.decode_state(value)
    if kind == _ITEM:
        return cloudevents.decode_item(value)
    if kind in WEBHOOK_COMMANDS:
        return cloudevents.decode_webhook_command(headers, value)
    return (
        cloudevents.decode_webhook(headers, value)
        if kind in WEBHOOK_EVENTS
        else cloudevents.decode(headers, value)
    )


def _missing(part: Any, whole: Any, where: str = "") -> Iterator[str]:
    """Where `whole` lacks, or has otherwise, what `part` has."""
    if isinstance(part, dict) and isinstance(whole, dict):
        for name, value in part.items():
            if name in whole:
                yield from _missing(value, whole[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        for index, (value, other) in enumerate(zip(part, whole, strict=True)):
            yield from _missing(value, other, f"{where}[{index}]")
    elif part != whole:
        yield f"{where}: {part!r} became {whole!r}"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_read_with_all_its_fields(path: Path) -> None:
    headers, value = _read(path)
    decoded = _decode(headers, json.dumps(value).encode())
    read = decoded.model_dump(mode="json", by_alias=True)
    # Counted out for readers that do not count letters.
    if cloudevents.event_type(headers) == _STATE:
        value.pop("progress")
    assert list(_missing(value, read)) == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_from_a_newer_writer_is_read_too(path: Path) -> None:
    headers, value = _read(path)
    newer = json.dumps(value | {"field_of_tomorrow": {"a": 1}}).encode()
    assert _decode([*headers, ("ce_extension", b"x")], newer) == _decode(
        headers, json.dumps(value).encode()
    )


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_ids_of_repeats_do_not_change_between_versions(path: Path) -> None:
    headers, value = _read(path)
    event = _decode(headers, json.dumps(value).encode())
    published = dict(headers).get("ce_id")
    if published is not None and hasattr(event, "event_id"):
        assert event.event_id == published.decode()


def test_every_event_has_a_sample() -> None:
    sampled = {cloudevents.event_type(_read(path)[0]) for path in SAMPLES}
    assert {*EVENTS, *WEBHOOK_EVENTS, *WEBHOOK_COMMANDS, _STATE, _ITEM} <= sampled


def test_the_smallest_job_that_a_client_may_publish_itself() -> None:
    headers, value = _read(Path(__file__).parent / "samples" / "job.submitted.v1.smallest.json")
    event = cloudevents.decode(headers, json.dumps(value).encode())
    assert isinstance(event, JobSubmitted)
    assert (event.operation, event.total, event.inputs) == ("noop", 1, ())
