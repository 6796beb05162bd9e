"""Webhook deliveries: the posts to be sent, and a record of every attempt."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schemas.jobs import JobId, WebhookEvent
from schemas.times import Timestamp
from schemas.webhooks.record import WebhookRecord


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
    NOT_SIGNED = "not_signed"
    """Not posted: the notifier's key does not decrypt the endpoint's secret or headers."""


class WebhookTrigger(StrEnum):
    """The cause of a delivery's attempts."""

    EVENT = "event"
    """The event itself, and the schedule after a failure."""
    REPLAY = "replay"
    """A request to post the delivery again: one attempt, which counts as no failure."""
    TEST = "test"
    """A request for a test event: one attempt, which counts as no failure."""


# Members that this version does not know are read as texts.
_Event = Annotated[WebhookEvent | str, Field(union_mode="left_to_right")]
_Trigger = Annotated[WebhookTrigger | str, Field(union_mode="left_to_right")]


class _OfDelivery(WebhookRecord):
    """Fields that a delivery and its attempts share."""

    job_id: JobId | None = Field(
        None, description="Id of the job that the event is about; null for an event of none."
    )
    delivery_id: str = Field(
        description=(
            "The `webhook-id` that receivers see: the same at every attempt, and when the event "
            "is read again after a crash."
        )
    )
    url: str = Field(description="URL that the body is posted to.")
    endpoint_id: str | None = Field(
        None, description="Id of the endpoint; null for the webhook that a job itself names."
    )
    owner: str | None = Field(
        None, description="Account that the job, or the endpoint, belongs to; null for none."
    )
    event: _Event | None = Field(
        None, description="Type of the event; null where an older version wrote the record."
    )
    trigger: _Trigger = Field(
        WebhookTrigger.EVENT, description="Cause of the attempt: the event, a replay, or a test."
    )

    @property
    def subject(self) -> str:
        """Id of the job, else of the endpoint, else of the delivery."""
        return self.job_id or self.endpoint_id or self.delivery_id


class WebhookDelivery(_OfDelivery):
    """One event to be posted to one URL.

    On `webhooks.retry` it waits until `due_at`, or for its host, which was busy; on
    `webhooks.retry.1m` and the others it waits for longer; on `webhooks.dead-letter` it was given
    up for `reason`.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.delivery.v1"
    body: str = Field(
        description="Body of the post, byte for byte; empty where it was too large to be kept."
    )
    attempts: int = Field(0, ge=0, description="Attempts that have failed so far.")
    since: Timestamp | None = Field(
        None, description="Time at which it first came to a retry topic, RFC 3339 in UTC."
    )
    due_at: Timestamp | None = Field(
        None,
        description="Time before which it must not be tried again, RFC 3339 in UTC; null: at once.",
    )
    postponed: int = Field(
        0,
        ge=0,
        description="Times since its last attempt that it was due while its receiver was busy, or "
        "was not posted to because it failed time after time.",
    )
    reason: str | None = Field(None, description="Reason why it was given up, a sentence.")

    @property
    def event_id(self) -> str:
        """`<delivery id>/webhook.delivery.v1/<attempts>`: written once for a number of attempts."""
        return f"{self.delivery_id}/webhook.delivery.v1/{self.attempts}"


class WebhookAttempt(_OfDelivery):
    """One attempt to post a delivery; on `webhooks.attempts`.

    A delivery is `delivered` after an attempt without a failure, waits after one with a `next_at`,
    and has failed after one with neither.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.attempt.v1"
    attempt: int = Field(ge=1, description="Number of the attempt, counted from 1.")
    at: str = Field(description="Start of the attempt, RFC 3339 in UTC.")
    duration_ms: float = Field(ge=0, description="Duration of the attempt in milliseconds.")
    status: int | None = Field(
        None, description="HTTP status of the answer; null if there was none."
    )
    response: str | None = Field(
        None, description="First 2 KB of the answer's body; null if there was none."
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
    body: str | None = Field(
        None,
        description="Body that was accepted, for a replay; null after a failure, and where it was "
        "too large to be kept.",
    )

    @property
    def event_id(self) -> str:
        """`<delivery id>/webhook.attempt.v1/<attempt>/<at>`: each attempt is recorded once."""
        return f"{self.delivery_id}/webhook.attempt.v1/{self.attempt}/{self.at}"


WEBHOOK_EVENTS: dict[str, type[WebhookDelivery] | type[WebhookAttempt]] = {
    event.TYPE: event for event in (WebhookDelivery, WebhookAttempt)
}


def delivery_id(event_id: str, endpoint_id: str | None = None) -> str:
    """Return the `webhook-id` of an event's delivery, the same for every repeat (guarantee 7).

    Receivers drop an id that they have seen. It must not contain a full stop (Standard Webhooks),
    so it is a digest of the event's id, and of the endpoint's, as each delivery has a log of its
    own.
    """
    name = event_id if endpoint_id is None else f"{event_id}/{endpoint_id}"
    return "msg_" + hashlib.sha256(name.encode()).hexdigest()[:32]
