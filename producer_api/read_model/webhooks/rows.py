"""Turn the notifier's records into rows of the tables deliveries and attempts; pure.

A delivery has no topic of its own. It is the sum of its attempts and, if it was given up, of its
dead letter. These are on different partitions, so the rows may come in any order: tables.py merges
them in a way in which the order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from schemas import topics
from schemas.cloudevents import DecodeError, event_type
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookTrigger

# Columns that hold a text or null.
_TEXTS = ("url", "owner", "endpoint_id", "job_id", "event")
# Most characters of such a text: a URL has 4,096 at most, but anyone may write to a topic.
_MAX_CHARACTERS = 8192
# Causes of a single attempt: if it fails, that is recorded nowhere else.
_ONE_ATTEMPT = (WebhookTrigger.REPLAY.value, WebhookTrigger.TEST.value)


class DeliveryStatus(StrEnum):
    """The state of a webhook delivery."""

    PENDING = "pending"
    """The last attempt failed, and another one is due."""
    DELIVERED = "delivered"
    """The receiver accepted it."""
    FAILED = "failed"
    """It was given up."""


class DeliveryRow(NamedTuple):
    """A row of the table deliveries, as one record makes it.

    `topic`, `partition` and `offset` are those of the record with the body of the post; null where
    this record has none.
    """

    delivery_id: str
    url: str
    owner: str | None
    endpoint_id: str | None
    job_id: str | None
    event: str | None
    status: str
    created_at: str
    last_at: str
    failed_at: str | None
    next_at: str | None
    reason: str | None
    topic: str | None
    partition: int | None
    offset: int | None


class AttemptRow(NamedTuple):
    """A row of the table attempts; `document` is a WebhookAttempt without the body of the post."""

    delivery_id: str
    at: str
    attempt: int
    document: bytes


class Place(NamedTuple):
    """The place of a message; `topic` is without the prefix."""

    topic: str
    partition: int
    offset: int


@dataclass
class WebhookChanges:
    """The rows to write, in the order of the messages."""

    deliveries: list[DeliveryRow] = field(default_factory=list)
    attempts: list[AttemptRow] = field(default_factory=list)

    def add(
        self, place: Place, headers: Iterable[tuple[str, bytes]] | None, value: bytes, oldest: str
    ) -> int:
        """Add a record of the notifier; return the bytes that it takes.

        Records of before `oldest` are left out.

        Raises:
            DecodeError: the record cannot be used.
        """
        kind = event_type(headers)
        fields = _fields_of(value)
        if kind == WebhookAttempt.TYPE:
            return self._add_attempt(place, fields, oldest)
        if kind == WebhookDelivery.TYPE:
            return self._add_dead_letter(place, fields, _time_of(headers), oldest)
        raise DecodeError(f"{kind} does not belong here")

    def _add_attempt(self, place: Place, fields: dict[str, Any], oldest: str) -> int:
        at, attempt, next_at = fields.get("at"), fields.get("attempt"), fields.get("next_at")
        if type(at) is not str:
            raise DecodeError("at: not a string")
        if type(attempt) is not int or not 0 < attempt < 2**31:
            raise DecodeError("attempt: not a whole number from 1")
        if next_at is not None and type(next_at) is not str:
            raise DecodeError("next_at: not a string")
        if at < oldest:
            return 0
        if fields.get("failure") is None:
            status = DeliveryStatus.DELIVERED
        elif next_at is None and fields.get("trigger") in _ONE_ATTEMPT:
            status = DeliveryStatus.FAILED
        else:
            # After the last attempt its dead letter follows, with the body that a replay needs.
            status = DeliveryStatus.PENDING
        # Kept on the topic alone: it may be megabytes, and only a replay needs it.
        body = fields.pop("body", None)
        row = _row(fields, status, at, place if body else None, next_at=next_at)
        document = orjson.dumps(fields)
        self.deliveries.append(row)
        self.attempts.append(AttemptRow(row.delivery_id, at, attempt, document))
        return len(document)

    def _add_dead_letter(self, place: Place, fields: dict[str, Any], at: str, oldest: str) -> int:
        if at < oldest:
            return 0
        reason = fields.get("reason")
        if reason is not None and type(reason) is not str:
            raise DecodeError("reason: not a string")
        kept = place if fields.get("body") else None
        row = _row(fields, DeliveryStatus.FAILED, at, kept, reason=reason)
        self.deliveries.append(row)
        return len(row.url)


def _row(
    fields: Mapping[str, Any],
    status: DeliveryStatus,
    at: str,
    body: Place | None,
    *,
    next_at: str | None = None,
    reason: str | None = None,
) -> DeliveryRow:
    delivery_id = fields.get("delivery_id")
    if type(delivery_id) is not str or not delivery_id:
        raise DecodeError("delivery_id: not a string")
    texts = {name: fields.get(name) for name in _TEXTS}
    for name, text in texts.items():
        if text is not None and (type(text) is not str or len(text) > _MAX_CHARACTERS):
            raise DecodeError(f"{name}: not a string, or longer than {_MAX_CHARACTERS} characters")
    return DeliveryRow(
        delivery_id=delivery_id,
        url=texts.pop("url") or "",
        **texts,
        status=status.value,
        created_at=at,
        last_at=at,
        failed_at=at if status is DeliveryStatus.FAILED else None,
        next_at=next_at,
        reason=reason,
        topic=body and body.topic,
        partition=body and body.partition,
        offset=body and body.offset,
    )


def _fields_of(value: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the message is not JSON: {error}") from error
    if type(fields) is not dict:
        raise DecodeError("the message is not a JSON object")
    return fields


def _time_of(headers: Iterable[tuple[str, bytes]] | None) -> str:
    """Return the time at which an event was written. Raises DecodeError."""
    for name, value in headers or ():
        if name == "ce_time":
            return value.decode()
    raise DecodeError("no ce_time")


WEBHOOK_RECORDS = (topics.WEBHOOKS_ATTEMPTS, topics.WEBHOOKS_DEAD_LETTER)
