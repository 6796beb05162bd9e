"""CloudEvents 1.0 over Kafka, binary content mode (CloudEvents Kafka protocol binding, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from schemas.events import EVENTS, AnyEvent, JobFinished, JobSubmitted
from schemas.jobs import Item, JobState
from schemas.times import now
from schemas.topics import MAX_MESSAGE_BYTES

# Sent on, a message has a longer key, and headers that tell where it came from. (A compressed one
# may be of any size.)
_MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - (64 << 10)
# pydantic reads no JSON that is nested deeper. An event is told on inside of others.
_MAX_LEVELS = 200
_SPARE_LEVELS = 16
# That of W3C's version 00 has 55.
_MAX_TRACEPARENT_CHARS = 256
Headers = list[tuple[str, bytes]]
SOURCE_DEFAULT = "/imagemill"
STATE_TYPE = "io.imagemill.job.state.v1"
ITEM_TYPE = "io.imagemill.item.state.v1"


class Encoded(NamedTuple):
    """A Kafka message's value and headers."""

    value: bytes
    headers: Headers


class DecodeError(ValueError):
    """A message that is no event of ours; the text says why."""


class UnknownType(DecodeError):
    """An event type this version does not know."""


def encode(event: AnyEvent, source: str = SOURCE_DEFAULT) -> Encoded:
    """The message of an event."""
    # JobFinished is public: its readers find every field, null or not.
    terminal = isinstance(event, JobFinished)
    return Encoded(
        event.model_dump_json(exclude_none=not terminal).encode(),
        _headers(event.TYPE, event.event_id, event.job_id, source, event.trace),
    )


def encode_state(state: JobState, source: str = SOURCE_DEFAULT) -> Encoded:
    """The message of a job's state on `jobs.state`, with its progress counted out for readers."""
    value = state.model_dump_json(exclude_none=True)
    done = state.progress
    progress = f'{{"total":{done.total},"processed":{done.processed},"failed":{done.failed}}}'
    event_id = f"{state.job_id}/state/{state.revision}"
    return Encoded(
        f'{value[:-1]},"progress":{progress}}}'.encode(),
        _headers(STATE_TYPE, event_id, state.job_id, source, state.traceparent),
    )


def encode_item(job_id: str, item: Item, source: str = SOURCE_DEFAULT) -> Encoded:
    """The message of one item of a running batch on `jobs.state`."""
    event_id = f"{job_id}/{item.index}/state/{item.attempts}/{item.status}"
    return Encoded(
        item.model_dump_json(exclude_none=True).encode(),
        _headers(ITEM_TYPE, event_id, job_id, source, None),
    )


def _headers(
    event_type: str, event_id: str, subject: str, source: str, traceparent: str | None
) -> Headers:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", now().encode()),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/json"),
    ]
    if traceparent and len(traceparent) <= _MAX_TRACEPARENT_CHARS:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def event_type(headers: Iterable[tuple[str, bytes]] | None) -> str:
    """The CloudEvents type of a message; DecodeError when it has none."""
    for name, value in headers or ():
        if name == "ce_type" and value is not None:
            return value.decode("utf-8", "replace")
    raise DecodeError("the message has no ce_type header")


def decode(headers: Iterable[tuple[str, bytes]] | None, value: bytes | None) -> AnyEvent:
    """The event in a message.

    Raises:
        UnknownType: its type is not one of ours, or of a newer major version.
        DecodeError: no type, no value, a value that does not fit the type, or one so large or so
            deep that what follows from it could not be told.
    """
    kind = event_type(headers)
    model = EVENTS.get(kind)
    if model is None:
        raise UnknownType(f"unknown event type {kind!r}")
    if value is None:
        raise DecodeError(f"an event of type {kind} without a value")
    if len(value) > _MAX_VALUE_BYTES:
        raise DecodeError(f"{kind}: {len(value)} bytes, more than {_MAX_VALUE_BYTES}")
    try:
        event = model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DecodeError(f"{kind}: {where}: {first['msg']}") from error
    if model is JobSubmitted and not can_be_told_on(value):
        raise DecodeError(f"{kind}: nested too deep")
    return event


def can_be_told_on(value: bytes) -> bool:
    """Whether JSON that can be read is not nested too deep to be read as a part of other events."""
    levels = _MAX_LEVELS - _SPARE_LEVELS
    if len(value) <= 2 * levels or value.count(b"[") + value.count(b"{") <= levels:
        return True
    try:
        from_json(b"[" * _SPARE_LEVELS + value + b"]" * _SPARE_LEVELS)
    except ValueError:
        return False
    return True


def decode_state(value: bytes) -> JobState:
    """A job's state from its record; DecodeError when it is none."""
    try:
        return JobState.model_validate_json(value)
    except ValidationError as error:
        raise DecodeError(f"not a job state: {error.error_count()} errors") from error


def decode_item(value: bytes) -> Item:
    """An item from its record; DecodeError when it is none."""
    try:
        return Item.model_validate_json(value)
    except ValidationError as error:
        raise DecodeError(f"not an item: {error.error_count()} errors") from error
