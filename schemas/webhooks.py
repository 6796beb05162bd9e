"""Webhook deliveries on Kafka: the posts to be sent, and a record of every attempt."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from schemas.events import Event
from schemas.times import Timestamp


class WebhookFailure(StrEnum):
    """The reason why an attempt failed."""

    STATUS = "status"
    """Answered, but not with a status of 200 to 299."""
    TIMEOUT = "timeout"
    """No answer in time."""
    UNREACHABLE = "unreachable"
    """The name did not resolve, nothing listened, or the connection broke."""
    BLOCKED = "blocked"
    """The URL leads to a host or address that must not be posted to."""


class WebhookDelivery(Event):
    """One event to be posted to one URL.

    On `webhooks.retry` it waits until `due_at`, or for its host, which was busy; on
    `webhooks.dead-letter` it was given up for `reason`.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.delivery.v1"
    delivery_id: str = Field(
        description=(
            "The `webhook-id` that receivers see: the same at every attempt, and when the event "
            "is read again after a crash."
        )
    )
    url: str = Field(description="URL that the body is posted to.")
    body: str = Field(
        description="Body of the post, byte for byte; empty where it was too large to be kept."
    )
    attempts: int = Field(0, ge=0, description="Attempts that have failed so far.")
    since: Timestamp | None = Field(
        None, description="Time at which it first came to `webhooks.retry`, RFC 3339 in UTC."
    )
    due_at: Timestamp | None = Field(
        None,
        description="Time before which it must not be tried again, RFC 3339 in UTC; null: at once.",
    )
    reason: str | None = Field(None, description="Reason why it was given up, a sentence.")

    @property
    def event_id(self) -> str:
        """`<delivery id>/webhook.delivery.v1/<attempts>`: written once for a number of attempts."""
        return f"{self.delivery_id}/webhook.delivery.v1/{self.attempts}"


class WebhookAttempt(Event):
    """One attempt to post a delivery; on `webhooks.attempts`."""

    TYPE: ClassVar[str] = "io.imagemill.webhook.attempt.v1"
    delivery_id: str = Field(description="The `webhook-id` of the delivery.")
    url: str = Field(description="URL that was posted to.")
    attempt: int = Field(ge=1, description="Number of the attempt, counted from 1.")
    at: str = Field(description="Start of the attempt, RFC 3339 in UTC.")
    duration_ms: float = Field(ge=0, description="Duration of the attempt in milliseconds.")
    status: int | None = Field(
        None, description="HTTP status of the answer; null if there was none."
    )
    response: str | None = Field(
        None, description="Beginning of the answer's body; null if there was none."
    )
    failure: WebhookFailure | None = Field(
        None, description="Kind of failure; null if the attempt succeeded."
    )
    message: str | None = Field(
        None, description="Failure as a sentence; null if the attempt succeeded."
    )
    next_at: str | None = Field(
        None, description="Time at which the next attempt is due, RFC 3339 in UTC; null for none."
    )

    @property
    def event_id(self) -> str:
        """`<delivery id>/webhook.attempt.v1/<attempt>/<at>`: each attempt is recorded once."""
        return f"{self.delivery_id}/webhook.attempt.v1/{self.attempt}/{self.at}"


WEBHOOK_EVENTS: dict[str, type[WebhookDelivery] | type[WebhookAttempt]] = {
    event.TYPE: event for event in (WebhookDelivery, WebhookAttempt)
}


def delivery_id(event_id: str) -> str:
    """Return the `webhook-id` of an event's delivery, the same for every repeat (guarantee 7).

    Receivers drop an id that they have seen. It must not contain a full stop (Standard Webhooks),
    so it is a digest of the event's id.
    """
    return "msg_" + hashlib.sha256(event_id.encode()).hexdigest()[:32]
