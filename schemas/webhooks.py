"""Webhook deliveries on Kafka: what is to be posted, and a record of every attempt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from pydantic import ValidationError

from schemas.cloudevents import DecodeError, UnknownType, event_type
from schemas.events import Event
from schemas.times import Timestamp


class WebhookFailure(StrEnum):
    """Why an attempt failed."""

    STATUS = "status"
    """Answered, but not with a status of 200 to 299."""
    TIMEOUT = "timeout"
    """No answer in time."""
    UNREACHABLE = "unreachable"
    """The name did not resolve, nothing listened, or the connection broke."""
    BLOCKED = "blocked"
    """The URL points to where we may not go."""


class WebhookDelivery(Event):
    """One event to be posted to one URL; on `webhooks.dead-letter` with the reason it was given up.

    `delivery_id` is the `webhook-id` that receivers see: the same at every attempt, and when the
    event is read again after a crash. `body` is what is posted, byte for byte. On `webhooks.retry`,
    where it came first at the time `since`, it found its host busy, or waits until `due_at`.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.delivery.v1"
    delivery_id: str
    url: str
    body: str
    attempts: int = 0
    since: Timestamp | None = None
    due_at: Timestamp | None = None
    reason: str | None = None

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.delivery_id}/webhook.delivery.v1/{self.attempts}"


class WebhookAttempt(Event):
    """One attempt to post a delivery; on `webhooks.attempts`.

    `attempt` counts from 1, `at` is when it began. `status` is the HTTP status of the answer, if
    there was one, `response` the beginning of its body; `failure` is None when it succeeded.
    `next_at` tells when the next attempt is due.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.attempt.v1"
    delivery_id: str
    url: str
    attempt: int
    at: str
    duration_ms: float
    status: int | None = None
    response: str | None = None
    failure: WebhookFailure | None = None
    message: str | None = None
    next_at: str | None = None

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.delivery_id}/webhook.attempt.v1/{self.attempt}/{self.at}"


WEBHOOK_EVENTS: dict[str, type[WebhookDelivery] | type[WebhookAttempt]] = {
    event.TYPE: event for event in (WebhookDelivery, WebhookAttempt)
}


def delivery_id(event_id: str) -> str:
    """The `webhook-id` of the delivery of an event: derived from it, so every repeat has the same.

    Receivers are told to drop an id they have seen, and it may not contain a full stop.
    """
    return "msg_" + hashlib.sha256(event_id.encode()).hexdigest()[:32]


def decode_webhook(
    headers: Iterable[tuple[str, bytes]] | None, value: bytes | None
) -> WebhookDelivery | WebhookAttempt:
    """The delivery or attempt in a message.

    Raises:
        UnknownType: its type is neither.
        DecodeError: no type, no value, or a value that does not fit the type.
    """
    kind = event_type(headers)
    model = WEBHOOK_EVENTS.get(kind)
    if model is None:
        raise UnknownType(f"unknown event type {kind!r}")
    try:
        return model.model_validate_json(value or b"")
    except ValidationError as error:
        raise DecodeError(f"{kind}: {error.error_count()} errors") from error
