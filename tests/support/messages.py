"""Kafka messages of all topics that the read side reads, without a broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas import cloudevents
from schemas.events import JobClaimed, JobSubmitted
from schemas.jobs import Item, ItemInput, JobState, JobStatus, WebhookEvent
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookFailure

PREFIX = "imagemill."
CONTROL = PREFIX + "jobs.control"
NORMAL = PREFIX + "jobs.normal"
STATE = PREFIX + "jobs.state"
ATTEMPTS = PREFIX + "webhooks.attempts"
GIVEN_UP = PREFIX + "webhooks.dead-letter"
CREATED = "2026-03-01T10:00:00.000Z"


@dataclass
class FakeMessage:
    """A message with the accessors of confluent-kafka's."""

    topic_: str
    key_: bytes | None
    value_: bytes | None
    headers_: list[tuple[str, bytes]] = field(default_factory=list)
    partition_: int = 0
    offset_: int = 0

    def topic(self) -> str:
        return self.topic_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes]]:
        return self.headers_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_


def submitted(job_id: str, **fields: Any) -> JobSubmitted:
    """Make a job; of one image unless `total` says otherwise."""
    total = fields.pop("total", 1)
    inputs = tuple(
        ItemInput(filename=f"{index}.jpg", key=f"uploads/{job_id}/{index}")
        for index in range(total)
    )
    defaults: dict[str, Any] = {"operation": "detect-objects", "created_at": CREATED}
    return JobSubmitted(job_id=job_id, total=total, inputs=inputs, **(defaults | fields))


def state_of(job: JobSubmitted, revision: int, status: str, outcomes: str, **fields: Any) -> Any:
    """Make a state of a job."""
    header = job.model_dump(exclude={"inputs"})
    return JobState(
        **header, revision=revision, status=JobStatus(status), outcomes=outcomes, **fields
    )


def submission_message(job: JobSubmitted, offset: int = 0, topic: str = NORMAL) -> FakeMessage:
    """Make the message of a job on its priority topic."""
    value, headers = cloudevents.encode(job)
    return FakeMessage(topic, job.job_id.encode(), value, headers, offset_=offset)


def state_message(state: JobState, offset: int = 0) -> FakeMessage:
    """Make the message of a state on jobs.state."""
    value, headers = cloudevents.encode_state(state)
    return FakeMessage(STATE, state.job_id.encode(), value, headers, offset_=offset)


def item_message(job_id: str, item: Item, offset: int = 0) -> FakeMessage:
    """Make the message of one item of a running batch."""
    value, headers = cloudevents.encode_item(job_id, item)
    return FakeMessage(STATE, f"{job_id}/{item.index}".encode(), value, headers, offset_=offset)


def claim_message(
    job_id: str, claim_id: str, at: str, fingerprint: str = "f", key: str | None = None
) -> FakeMessage:
    """Make the message of a claim on jobs.control."""
    claim = JobClaimed(job_id=job_id, claim_id=claim_id, fingerprint=fingerprint, at=at)
    value, headers = cloudevents.encode(claim)
    return FakeMessage(CONTROL, (key or job_id).encode(), value, headers)


def tombstone(key: str, offset: int = 0) -> FakeMessage:
    """Make the tombstone of a key on jobs.state."""
    return FakeMessage(STATE, key.encode(), None, offset_=offset)


def attempted(delivery_id: str, at: str, **fields: Any) -> WebhookAttempt:
    """Make an attempt that succeeded; one that failed if `next_at` or `failure` is given."""
    failed = "next_at" in fields or "failure" in fields
    defaults: dict[str, Any] = {
        "job_id": "job-00001", "url": "https://example.com/hook", "attempt": 1,
        "endpoint_id": "ep_00000001", "event": WebhookEvent.FINISHED, "duration_ms": 12.5,
        "status": 503 if failed else 204, "failure": WebhookFailure.STATUS if failed else None,
        "message": "The receiver answered with status 503." if failed else None,
        "response": "busy" if failed else None, "body": None if failed else "{}",
    }  # fmt: skip
    return WebhookAttempt(delivery_id=delivery_id, at=at, **(defaults | fields))


def attempt_message(attempt: WebhookAttempt, offset: int = 0) -> FakeMessage:
    """Make the message of an attempt on webhooks.attempts."""
    value, headers = cloudevents.encode(attempt)
    return FakeMessage(ATTEMPTS, attempt.delivery_id.encode(), value, headers, offset_=offset)


def given_up(delivery_id: str, **fields: Any) -> WebhookDelivery:
    """Make a delivery that was given up."""
    defaults: dict[str, Any] = {
        "job_id": "job-00001", "url": "https://example.com/hook", "endpoint_id": "ep_00000001",
        "event": WebhookEvent.FINISHED, "body": "{}", "attempts": 3,
        "reason": "No attempt of 3 succeeded.",
    }  # fmt: skip
    return WebhookDelivery(delivery_id=delivery_id, **(defaults | fields))


def given_up_message(delivery: WebhookDelivery, at: str, offset: int = 0) -> FakeMessage:
    """Make the message on webhooks.dead-letter of a delivery that was given up at that time."""
    value, headers = cloudevents.encode(delivery)
    headers = [each for each in headers if each[0] != "ce_time"] + [("ce_time", at.encode())]
    return FakeMessage(GIVEN_UP, delivery.delivery_id.encode(), value, headers, offset_=offset)
