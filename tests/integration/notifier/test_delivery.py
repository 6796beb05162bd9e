"""Deliveries to real local receivers, recorded on the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from imagemill.kafka.config import producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.net.addresses import AddressPolicy
from imagemill.net.guard import UrlGuard, guarded_session
from imagemill.settings import NotifierSettings
from imagemill.webhooks.sealing import Sealer
from notifier.endpoints import Endpoints
from notifier.kafka.records import DeliveryRecords
from notifier.posts.addresses import Addresses
from notifier.posts.breaker import Breaker
from notifier.posts.delivery import Deliverer, DeliveryTask
from notifier.posts.host_limits import HostLimits
from notifier.posts.policy import RetryPolicy
from notifier.posts.posting import WebhookPoster
from schemas.cloudevents import decode_webhook
from schemas.times import from_epoch, to_epoch
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookFailure
from tests.support.notifier import SECRET, Receiver
from tests.support.topic_log import TopicLog

POLICY = RetryPolicy(delays_s=(0.01, 0.02), max_s=30, hold_s=5, busy_s=3600, silent_s=60)


@dataclass
class Parts:
    """A deliverer, its limits, and the records that it writes."""

    deliverer: Deliverer
    records: DeliveryRecords
    limits: HostLimits
    read: Callable[[str], list]

    def hold(self, url: str, **fields: object) -> DeliveryTask:
        body = '{"type":"job.finished","data":{"job_id":"job-1"}}'
        delivery = WebhookDelivery(job_id="job-1", delivery_id="msg_1", url=url, body=body)
        task = DeliveryTask(delivery.evolve(**fields))
        assert self.limits.try_hold(task.host)
        return task

    def attempts(self) -> list[WebhookAttempt]:
        return self.read("webhooks.attempts")


@pytest.fixture
async def parts(settings: NotifierSettings, kafka: TopicLog) -> AsyncIterator[Parts]:
    guard = UrlGuard(AddressPolicy.parse("127.0.0.1"))
    producer = AsyncProducer(producer_config(settings))
    records = DeliveryRecords(producer, settings)
    limits = HostLimits(total=4, per_host=1, backlog=100, wait_s=0.05)

    def read(topic: str) -> list:
        found = kafka.messages(settings.topic(topic))
        return [decode_webhook(message.headers(), message.value()) for message in found]

    timeout = aiohttp.ClientTimeout(total=5)
    async with guarded_session(guard, timeout=timeout) as session:
        addresses = Addresses(Endpoints("", ""), Sealer([bytes(32)]), SECRET)
        poster = WebhookPoster(session, guard, addresses)
        breaker = Breaker(interval_s=60)
        deliverer = Deliverer(poster, records, limits, breaker, POLICY, lambda: 0.0)
        yield Parts(deliverer, records, limits, read)
    await producer.close()


async def test_an_accepted_delivery_is_over_after_one_recorded_attempt(parts: Parts):
    async with Receiver() as receiver:
        assert await parts.deliverer.deliver(parts.hold(receiver.url))
    assert [got.id for got in receiver.received] == ["msg_1"]
    (attempt,) = parts.attempts()
    assert (attempt.attempt, attempt.status, attempt.failure) == (1, 204, None)


async def test_one_that_fails_each_time_is_given_up_and_kept(parts: Parts):
    async def refuse(_time: int) -> web.Response:
        return web.Response(status=500, text="out of order")

    async with Receiver(refuse) as receiver:
        assert await parts.deliverer.deliver(parts.hold(receiver.url))
    assert [attempt.attempt for attempt in parts.attempts()] == [1, 2, 3]
    (kept,) = parts.read("webhooks.dead-letter")
    assert (kept.attempts, kept.body[:22]) == (3, '{"type":"job.finished"')


async def test_a_long_backoff_is_left_to_the_caller_with_its_due_time(parts: Parts):
    async def later(_time: int) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "20"})

    async with Receiver(later) as receiver:
        task = parts.hold(receiver.url)
        assert not await parts.deliverer.deliver(task)
    (attempt,) = parts.attempts()
    assert task.delivery.attempts == 1
    assert 19 < to_epoch(task.delivery.due_at) - to_epoch(attempt.at) < 22


async def test_an_attempt_under_way_is_finished_and_recorded_when_it_is_cancelled(parts: Parts):
    asked, release = asyncio.Event(), asyncio.Event()

    async def hang(_time: int) -> web.Response:
        asked.set()
        await release.wait()
        return web.Response(status=500)

    async with Receiver(hang) as receiver:
        task = parts.hold(receiver.url)
        delivering = asyncio.create_task(parts.deliverer.deliver(task))
        work = task.start(ignore_result(delivering))
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        release.set()
        assert not await asyncio.wait_for(delivering, 10)
        await work
    assert len(parts.attempts()) == len(receiver.received) == 1


async def ignore_result(delivering: asyncio.Task[bool]) -> None:
    await delivering


async def test_a_busy_host_is_left_to_the_caller_after_the_wait_for_a_slot(parts: Parts):
    async with Receiver() as receiver:
        task = parts.hold(receiver.url)
        async with parts.limits.slot(task.host):
            assert not await parts.deliverer.deliver(task)
    assert parts.attempts() == receiver.received == []


async def test_a_requeued_delivery_has_its_first_time_and_is_given_up_in_the_end(parts: Parts):
    task = parts.hold("http://127.0.0.1:9/hook")
    await parts.deliverer.requeue(task)
    (waiting,) = parts.read("webhooks.retry")
    assert waiting.since is not None and waiting.reason is None

    old = from_epoch(to_epoch(waiting.since) - POLICY.patience_s - 1)
    task = parts.hold("http://127.0.0.2:9/hook", since=old)
    await parts.deliverer.requeue(task)
    (kept,) = parts.read("webhooks.dead-letter")
    assert "too slow" in kept.reason
    assert len(parts.read("webhooks.retry")) == 1


async def test_one_too_large_for_a_topic_is_given_up_without_its_body(parts: Parts):
    task = parts.hold("http://127.0.0.1:9/hook", body="x" * MAX_MESSAGE_BYTES)
    await parts.deliverer.requeue(task)
    (kept,) = parts.read("webhooks.dead-letter")
    assert kept.body == ""
    assert "too large to be kept" in kept.reason


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("http://10.0.0.1/hook", WebhookFailure.BLOCKED),
        ("http://127.0.0.1:9/hook", WebhookFailure.UNREACHABLE),
        ("http://no-such-host.invalid/hook", WebhookFailure.UNREACHABLE),
    ],
)
async def test_a_failure_says_why_and_names_no_address(
    parts: Parts, url: str, failure: WebhookFailure
):
    assert await parts.deliverer.deliver(parts.hold(url))
    attempt = parts.attempts()[0]
    assert attempt.failure is failure
    assert "0.0.1" not in attempt.message
