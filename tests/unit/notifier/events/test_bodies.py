"""The bodies of deliveries."""

from __future__ import annotations

import json

import pytest

from notifier.endpoints import Endpoints
from notifier.events.bodies import ended_delivery
from notifier.events.job_events import JobEvents
from schemas.cloudevents import decode, decode_webhook, encode
from schemas.errors import ErrorCode, JobError
from schemas.events import JobFinished
from schemas.jobs import Item, JobStatus, Progress, Webhook, WebhookEvent

FINISHED = WebhookEvent.FINISHED
URL = "https://receiver.test/hook"


def finished(webhook: Webhook | None, **changes) -> JobFinished:
    item = Item(
        index=0,
        filename="cup.png",
        status=JobStatus.SUCCEEDED,
        result={"key": "results/j/0.png", "url": "https://store.test/0.png?signature=x"},
    )
    facts = {
        "job_id": "job-1",
        "status": JobStatus.SUCCEEDED,
        "operation": "remove-background",
        "params": {"model": "u2netp"},
        "priority": "high",
        "progress": Progress(total=1, processed=1, failed=0),
        "items": (item,),
        "error": None,
        "attempts": 1,
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": None,
        "finished_at": "2026-01-01T00:00:01.000Z",
        "metadata": {"order": 7},
        "model": None,
        "webhook": webhook,
    }
    return JobFinished(**(facts | changes))


def test_the_body_is_the_event_in_the_standard_envelope() -> None:
    delivery = ended_delivery(FINISHED, finished(Webhook(url=URL)))
    body = json.loads(delivery.body)

    assert (delivery.url, delivery.job_id) == (URL, "job-1")
    assert (body["type"], body["timestamp"]) == ("job.finished", "2026-01-01T00:00:01.000Z")
    assert body["data"]["job_id"] == "job-1"
    assert body["data"]["status"] == "succeeded"
    assert body["data"]["metadata"] == {"order": 7}
    assert body["data"]["items"][0]["result"]["url"] == "https://store.test/0.png?signature=x"
    assert "webhook" not in body["data"]


def test_numbers_of_any_size_are_posted() -> None:
    event = finished(Webhook(url=URL), metadata={"n": 10**30, "nan": float("nan")})
    body = json.loads(ended_delivery(FINISHED, event).body)
    assert body["data"]["metadata"] == {"n": 10**30, "nan": None}


def test_a_requeued_delivery_is_read_back_unchanged() -> None:
    delivery = ended_delivery(FINISHED, finished(Webhook(url=URL)))
    waiting = delivery.evolve(attempts=1, since="2026-01-01T00:00:00.000Z")
    value, headers = encode(waiting)
    assert decode_webhook(headers, value) == waiting
    value, headers = encode(finished(Webhook(url=URL)))
    events = JobEvents(Endpoints("", ""), None, "")
    assert events.ended(decode(headers, value)) == [delivery]


def test_every_repeat_has_the_same_id_and_another_outcome_another() -> None:
    webhook = Webhook(url=URL)
    one, again = (
        ended_delivery(FINISHED, finished(webhook)),
        ended_delivery(FINISHED, finished(webhook)),
    )
    other = ended_delivery(FINISHED, finished(webhook, status=JobStatus.CANCELLED))
    assert one == again
    assert one.delivery_id != other.delivery_id
    assert one.delivery_id.startswith("msg_") and "." not in one.delivery_id


def test_nothing_is_posted_unless_asked_for() -> None:
    assert ended_delivery(FINISHED, finished(None)) is None
    assert ended_delivery(FINISHED, finished(Webhook(url=URL, events=("job.progress",)))) is None


def test_a_background_removal_client_gets_what_it_would_have_polled() -> None:
    webhook = Webhook(url=URL, style="background_removal")
    assert json.loads(ended_delivery(FINISHED, finished(webhook)).body) == {
        "id": "job-1",
        "status": "completed",
        "image_url": "https://store.test/0.png?signature=x",
    }
    error = JobError.of(ErrorCode.IMAGE_UNDECODABLE, "It is no image.")
    failed = Item(index=0, status=JobStatus.FAILED, error=error)
    event = finished(webhook, status=JobStatus.FAILED, items=(failed,), error=error)
    assert json.loads(ended_delivery(FINISHED, event).body) == {
        "id": "job-1",
        "status": "failed",
        "error": "It is no image.",
    }
    cancelled = finished(webhook, status=JobStatus.CANCELLED, items=())
    assert json.loads(ended_delivery(FINISHED, cancelled).body)["status"] == "failed"


def test_a_style_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown webhook style 'fax'"):
        ended_delivery(FINISHED, finished(Webhook(url=URL, style="fax")))
