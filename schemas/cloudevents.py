"""CloudEvents 1.0 over Kafka, binary content mode (CloudEvents Kafka protocol binding, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from schemas.events import EVENTS, AnyEvent, ItemQueued, JobFinished, JobSubmitted
from schemas.jobs import MAX_WEIGHT, Item, Job, JobState
from schemas.times import now
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.webhooks import (
    WEBHOOK_COMMANDS,
    WEBHOOK_EVENTS,
    EndpointStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookRecord,
    WebhookReplay,
    WebhookTest,
)

Headers = list[tuple[str, bytes]]
SOURCE_DEFAULT = "/imagemill"
STATE_TYPE = "io.imagemill.job.state.v1"
ITEM_TYPE = "io.imagemill.item.state.v1"
# Bytes of a value that is accepted: sent on to another topic it gets a longer key, and headers
# that name its source. (A compressed message may hold a value of any size.)
_MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - (64 << 10)
# Levels of nesting that pydantic's JSON reader accepts, and those that other events add around a
# submission when they carry it.
_MAX_LEVELS = 200
_RESERVED_LEVELS = 16
_MAX_WEIGHT_DIGITS = len(str(MAX_WEIGHT))
# Characters; a traceparent of W3C's version 00 has 55.
_MAX_TRACEPARENT_CHARS = 256


class Encoded(NamedTuple):
    """A Kafka message's value and headers."""

    value: bytes
    headers: Headers


class Share(NamedTuple):
    """The owner of a message of a priority topic, and the owner's weight; None has no owner."""

    owner: str | None
    weight: int


_COMMON_SHARE = Share(None, 1)


class DecodeError(ValueError):
    """The message cannot be decoded; the text says why."""


class UnknownType(DecodeError):
    """The message's event type is not known to this version."""


def encode(event: AnyEvent | WebhookRecord, source: str = SOURCE_DEFAULT) -> Encoded:
    """Encode an event."""
    subject = event.subject if isinstance(event, WebhookRecord) else event.job_id
    # JobFinished is public: its readers find every field, also those that are null.
    terminal = isinstance(event, JobFinished)
    headers = _headers(event.TYPE, event.event_id, subject, source, event.trace)
    if isinstance(event, ItemQueued):
        headers += _share_headers(event.job)
    elif isinstance(event, JobSubmitted):
        headers += _share_headers(event)
    return Encoded(event.model_dump_json(exclude_none=not terminal).encode(), headers)


def encode_state(state: JobState, source: str = SOURCE_DEFAULT) -> Encoded:
    """Encode a job's state for `jobs.state`, with a `progress` that counts its outcomes."""
    value = state.model_dump_json(exclude_none=True)
    done = state.progress
    progress = f'{{"total":{done.total},"processed":{done.processed},"failed":{done.failed}}}'
    event_id = f"{state.job_id}/state/{state.revision}"
    return Encoded(
        f'{value[:-1]},"progress":{progress}}}'.encode(),
        _headers(STATE_TYPE, event_id, state.job_id, source, state.traceparent),
    )


def encode_item(job_id: str, item: Item, source: str = SOURCE_DEFAULT) -> Encoded:
    """Encode one item of a running batch for `jobs.state`."""
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


def _share_headers(job: Job) -> Headers:
    """Make the extension attributes `owner` and `weight`; none for the common owner's weight 1."""
    headers = []
    if job.owner is not None:
        headers.append(("ce_owner", job.owner.encode()))
    if job.weight != 1:
        headers.append(("ce_weight", str(job.weight).encode()))
    return headers


def share_of(headers: Iterable[tuple[str, bytes]] | None) -> Share:
    """Return the owner and weight of a message, by its headers alone: its value is not decoded.

    A message without them belongs to one common owner of weight 1, as does one of another writer.
    """
    owner, weight = None, 1
    for name, value in headers or ():
        if name == "ce_owner":
            owner = value.decode("utf-8", "replace") if value else None
        elif name == "ce_weight" and value and len(value) <= _MAX_WEIGHT_DIGITS:
            weight = min(max(int(value), 1), MAX_WEIGHT) if value.isdigit() else 1
    return _COMMON_SHARE if owner is None and weight == 1 else Share(owner, weight)


def owner_of(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """Return the owner alone, as `share_of` does, in half of its time: ours is among the last."""
    for name, value in reversed(headers):
        if name == "ce_owner":
            return value.decode("utf-8", "replace") if value else None
    return None


def event_type(headers: Iterable[tuple[str, bytes]] | None) -> str:
    """Return the CloudEvents type of a message.

    Raises:
        DecodeError: it has none.
    """
    for name, value in headers or ():
        if name == "ce_type" and value is not None:
            return value.decode("utf-8", "replace")
    raise DecodeError("the message has no ce_type header")


def decode(headers: Iterable[tuple[str, bytes]] | None, value: bytes | None) -> AnyEvent:
    """Decode the event of a job in a message (guarantee 5: one that cannot be is refused here).

    Raises:
        UnknownType: its type is of another kind, or of a newer major version.
        DecodeError: no type, no value, a value that does not fit the type, or one so large or so
            deeply nested that the events that follow from it could not be sent.
    """
    kind, model = _model(headers, EVENTS)
    if value is not None and len(value) > _MAX_VALUE_BYTES:
        raise DecodeError(f"{kind}: {len(value)} bytes, more than {_MAX_VALUE_BYTES}")
    event = _parsed(kind, model, value)
    if model is JobSubmitted and value is not None and not can_be_nested(value):
        raise DecodeError(f"{kind}: nested too deep")
    return event


def decode_webhook(
    headers: Iterable[tuple[str, bytes]] | None, value: bytes | None
) -> WebhookDelivery | WebhookAttempt:
    """Decode the webhook delivery or attempt in a message.

    Raises:
        UnknownType: its type is neither.
        DecodeError: no type, no value, or a value that does not fit the type.
    """
    return _parsed(*_model(headers, WEBHOOK_EVENTS), value)


def decode_webhook_command(
    headers: Iterable[tuple[str, bytes]] | None, value: bytes | None
) -> WebhookReplay | WebhookTest:
    """Decode the command on webhooks in a message.

    Raises:
        UnknownType: its type is no command.
        DecodeError: no type, no value, or a value that does not fit the type.
    """
    return _parsed(*_model(headers, WEBHOOK_COMMANDS), value)


def decode_endpoint(value: bytes) -> WebhookEndpoint:
    """Decode a webhook endpoint from its record.

    Raises:
        DecodeError: it is not one.
    """
    return _parsed("webhook endpoint", WebhookEndpoint, value)


def decode_endpoint_status(value: bytes) -> EndpointStatus:
    """Decode an endpoint's status from its record.

    Raises:
        DecodeError: it is not one.
    """
    return _parsed("endpoint status", EndpointStatus, value)


def decode_state(value: bytes) -> JobState:
    """Decode a job's state from its record.

    Raises:
        DecodeError: it is not one.
    """
    return _parsed("job state", JobState, value)


def decode_item(value: bytes) -> Item:
    """Decode an item from its record.

    Raises:
        DecodeError: it is not one.
    """
    return _parsed("item", Item, value)


def can_be_nested(value: bytes) -> bool:
    """True if other events can carry this readable JSON within the reader's limit of nesting."""
    levels = _MAX_LEVELS - _RESERVED_LEVELS
    if len(value) <= 2 * levels or value.count(b"[") + value.count(b"{") <= levels:
        return True
    try:
        from_json(b"[" * _RESERVED_LEVELS + value + b"]" * _RESERVED_LEVELS)
    except ValueError:
        return False
    return True


def _model(
    headers: Iterable[tuple[str, bytes]] | None, models: Mapping[str, type[Any]]
) -> tuple[str, type[Any]]:
    """Return the event type of a message and its model."""
    kind = event_type(headers)
    model = models.get(kind)
    if model is None:
        raise UnknownType(f"unknown event type {kind!r}")
    return kind, model


def _parsed(kind: str, model: type[BaseModel], value: bytes | None) -> Any:
    """Parse a value as the model."""
    if value is None:
        raise DecodeError(f"{kind} without a value")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DecodeError(f"{kind}: {where}: {first['msg']}") from error
