"""EndpointWatch on the broker: what it writes about endpoints that fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Message

from imagemill.kafka.config import producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import NotifierSettings
from notifier.endpoints import Endpoints
from notifier.kafka.records import DeliveryRecords
from notifier.loops.endpoint_watch import EndpointWatch
from schemas.cloudevents import decode_endpoint_status, decode_webhook
from schemas.times import DAY_S, from_epoch, to_epoch
from schemas.webhooks import (
    EndpointStatus,
    WebhookAttempt,
    WebhookEndpoint,
    WebhookFailure,
    WebhookTrigger,
)
from tests.support.endpoints import CREATED, ID, endpoint
from tests.support.topic_log import TopicLog

START = to_epoch("2026-02-01T00:00:00.000Z")


@dataclass
class Parts:
    """A watch of endpoints, and the topics that it writes."""

    watch: EndpointWatch
    records: DeliveryRecords
    endpoints: Endpoints
    settings: NotifierSettings
    kafka: TopicLog

    def add(self, *endpoints: WebhookEndpoint) -> None:
        topic = self.settings.topic("webhooks.endpoints")
        for each in endpoints:
            value = each.model_dump_json().encode()
            self.endpoints.apply(topic, each.endpoint_id.encode(), value)

    async def attempt(self, day: float, status: int | None = 500, **fields: object) -> None:
        failed = status is None or status >= 300
        attempt = WebhookAttempt(
            delivery_id="msg_1",
            url="https://receiver.test/hook",
            endpoint_id=ID,
            attempt=1,
            at=from_epoch(START + day * DAY_S),
            duration_ms=1,
            status=status,
            failure=WebhookFailure.STATUS if failed else None,
            message="It failed." if failed else None,
        )
        await self.records.attempted(attempt.evolve(**fields))
        await self.watch.handle(self.attempts()[-1])

    def attempts(self) -> list[Message]:
        found = self.kafka.messages(self.settings.topic("webhooks.attempts"))
        return sorted(found, key=lambda message: message.timestamp()[1])

    def statuses(self, follow: bool = True) -> list[EndpointStatus | None]:
        """Records that were written; read back into the table as the notifier does."""
        topic = self.settings.topic("webhooks.endpoint-status")
        found = self.kafka.messages(topic)
        for message in found if follow else ():
            self.endpoints.apply(topic, message.key(), message.value())
        return [m.value() and decode_endpoint_status(m.value()) for m in found]

    def posted(self) -> list[dict]:
        found = self.kafka.messages(self.settings.topic("webhooks.retry"))
        return [json.loads(decode_webhook(m.headers(), m.value()).body) for m in found]


@pytest.fixture
async def parts(settings: NotifierSettings, kafka: TopicLog) -> AsyncIterator[Parts]:
    producer = AsyncProducer(producer_config(settings))
    records = DeliveryRecords(producer, settings)
    names = map(settings.topic, ("webhooks.endpoints", "webhooks.endpoint-status"))
    endpoints = Endpoints(*names)
    watch = EndpointWatch(endpoints, records, 5 * DAY_S)
    parts = Parts(watch, records, endpoints, settings, kafka)
    parts.add(endpoint(owner="ada"))
    yield parts
    await producer.close()


async def test_failures_of_five_days_disable_it_and_tell_the_owners_other_endpoints(parts: Parts):
    asking = ("endpoint.disabled",)
    parts.add(
        endpoint("ep_ada00002", asking, owner="ada"), endpoint("ep_bob00001", asking, owner="bob")
    )
    for day in (0, 2, 4.99):
        await parts.attempt(day)
    assert [status.disabled_at for status in parts.statuses()] == [None]
    await parts.attempt(5)
    last = parts.statuses()[-1]
    assert parts.endpoints.why_disabled(endpoint(owner="ada")) == last.reason
    assert last.reason.endswith("has failed. The last: It failed.")
    assert last.failing_since == "2026-02-01T00:00:00.000Z"
    (body,) = parts.posted()
    assert (body["type"], body["data"]["endpoint_id"]) == ("endpoint.disabled", ID)
    # Posts that were under way when it was disabled change nothing.
    await parts.attempt(5.1)
    assert (len(parts.statuses()), len(parts.posted())) == (2, 1)


async def test_a_success_in_between_starts_the_five_days_again(parts: Parts):
    await parts.attempt(0)
    await parts.attempt(1)
    await parts.attempt(1.5, status=200)
    assert [status.failing_since for status in parts.statuses()] == [
        "2026-02-01T00:00:00.000Z",
        None,
    ]
    await parts.attempt(2)
    await parts.attempt(6.9)
    assert parts.endpoints.why_disabled(endpoint()) is None
    await parts.attempt(7)
    parts.statuses()
    assert parts.endpoints.why_disabled(endpoint()) is not None


async def test_a_short_failure_is_not_written(parts: Parts):
    await parts.attempt(0)
    await parts.attempt(0.0001)
    await parts.attempt(0.0002, status=204)
    assert parts.statuses() == []


async def test_410_disables_it_at_once(parts: Parts):
    await parts.attempt(0, status=410)
    (status,) = parts.statuses()
    assert "410" in status.reason
    assert parts.endpoints.why_disabled(endpoint()) == status.reason


@pytest.mark.parametrize("trigger", [WebhookTrigger.REPLAY, WebhookTrigger.TEST])
async def test_replays_and_tests_count_as_no_failure(parts: Parts, trigger: WebhookTrigger):
    for day in (0, 3, 6):
        await parts.attempt(day, status=410, trigger=trigger)
    assert parts.statuses() == []


async def test_our_own_wrong_key_is_not_the_endpoints_failure(parts: Parts):
    for day in (0, 6):
        await parts.attempt(day, status=None, failure=WebhookFailure.NOT_SIGNED)
    assert parts.statuses() == []


async def test_an_enabled_endpoint_is_measured_from_then_on(parts: Parts):
    await parts.attempt(0)
    await parts.attempt(5)
    status = parts.statuses()[-1]
    enabled = endpoint(owner="ada").enable(status, from_epoch(to_epoch(status.disabled_at) + 60))
    parts.add(enabled)
    day = (to_epoch(enabled.enabled_at) - START) / DAY_S
    for later in (-0.5, 0.5, 5.4):
        await parts.attempt(day + later)
    parts.statuses()
    assert parts.endpoints.why_disabled(enabled) is None
    await parts.attempt(day + 5.5)
    parts.statuses()
    assert parts.endpoints.why_disabled(enabled) is not None


async def test_another_process_goes_on_from_what_was_written(parts: Parts):
    await parts.attempt(0)
    await parts.attempt(1)
    parts.statuses()
    parts.watch.released()
    await parts.attempt(5)
    parts.statuses()
    assert parts.endpoints.why_disabled(endpoint()) is not None


async def test_the_event_is_repeated_under_its_id_after_a_crash_before_the_status(parts: Parts):
    parts.add(endpoint("ep_ada00002", ("endpoint.disabled",), owner="ada"))
    await parts.attempt(0)
    await parts.attempt(1)
    parts.statuses()
    await parts.attempt(5)
    # The next process has read nothing of the last attempt's status.
    parts.watch.released()
    await parts.watch.handle(parts.attempts()[-1])
    topic = parts.settings.topic("webhooks.retry")
    ids = [decode_webhook(m.headers(), m.value()).delivery_id for m in parts.kafka.messages(topic)]
    assert len(ids) == 2 and len(set(ids)) == 1


async def test_the_status_of_a_deleted_endpoint_is_deleted(parts: Parts):
    await parts.attempt(0)
    await parts.attempt(1)
    parts.statuses()
    topic = parts.settings.topic("webhooks.endpoints")
    parts.endpoints.apply(topic, ID.encode(), None)
    await parts.attempt(2)
    assert parts.statuses()[-1] is None
    assert parts.endpoints.status(ID) is None


async def test_attempts_at_the_webhooks_of_jobs_are_passed_over(parts: Parts):
    for day in (0, 6):
        await parts.attempt(day, endpoint_id=None, job_id="j")
    assert parts.statuses() == []
    assert from_epoch(START) > CREATED
