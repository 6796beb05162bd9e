"""A whole notifier in this process, on the broker, with a real receiver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from imagemill.settings import NotifierSettings
from notifier.service import Notifier
from schemas.cloudevents import decode_webhook, encode, encode_state
from schemas.jobs import JobState, JobStatus, Webhook, WebhookEvent
from tests.support.notifier import Receiver, finished, ok
from tests.support.topic_log import TopicLog
from tests.support.waiting import wait_until_async


@pytest.fixture
def settings(settings: NotifierSettings) -> NotifierSettings:
    """The settings, with a health port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return settings.model_copy(update={"notifier_port": listener.getsockname()[1]})


@asynccontextmanager
async def running(settings: NotifierSettings) -> AsyncIterator[None]:
    notifier = Notifier(settings)
    run = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        notifier.stop()
        await asyncio.wait_for(run, 30)


def publish_end(kafka: TopicLog, settings: NotifierSettings, job_id: str, url: str) -> None:
    value, headers = encode(finished(job_id, Webhook(url=url)))
    kafka.publish(settings.topic("jobs.results"), value, headers)


async def test_messages_are_committed_once_they_are_delivered_or_dead_letters(
    settings: NotifierSettings, kafka: TopicLog
):
    kafka.publish(settings.topic("jobs.results"), b"{", [("ce_type", b"unheard of")])
    async with Receiver() as receiver:
        publish_end(kafka, settings, "job-1", receiver.url)
        async with running(settings):
            await receiver.until(lambda it: it.jobs() == {"job-1"})
    (letter,) = kafka.messages(settings.topic("jobs.dead-letter"))
    headers = dict(letter.headers())
    assert (letter.value(), headers["imagemill-source-offset"]) == (b"{", b"0")
    assert b"unheard of" in headers["imagemill-error"]
    topic = settings.topic("jobs.results")
    assert kafka.committed(settings.group("notifier"), topic) == 2


async def test_deliveries_to_a_busy_host_wait_on_the_retry_topic_and_arrive(
    settings: NotifierSettings, kafka: TopicLog
):
    release = asyncio.Event()

    async def hang(time: int) -> web.Response:
        await asyncio.wait_for(release.wait(), 20)
        return await ok(time)

    narrow = {"webhook_per_host": 1, "webhook_hold_s": 0.1, "webhook_timeout_s": 20.0}
    jobs = {f"job-{number}" for number in range(4)}
    async with Receiver(hang) as slow, Receiver() as fast:
        for job_id in jobs:
            publish_end(kafka, settings, job_id, slow.url)
        publish_end(kafka, settings, "quick", fast.url)
        async with running(settings.model_copy(update=narrow)):
            await fast.until(lambda it: it.jobs() == {"quick"})
            retry = settings.topic("webhooks.retry")
            requeued = await wait_until_async(
                lambda: kafka.messages(retry), lambda found: len(found) == 3
            )
            assert len(slow.received) == 1
            release.set()
            await slow.until(lambda it: it.jobs() == jobs)
    assert set(slow.times().values()) == {1}
    found = [decode_webhook(message.headers(), message.value()) for message in requeued]
    assert {delivery.job_id for delivery in found} == jobs - {
        slow.received[0].event["data"]["job_id"]
    }


async def test_a_running_job_posts_its_start_and_its_progress(
    settings: NotifierSettings, kafka: TopicLog
):
    async with Receiver() as receiver:
        for outcomes in ("r.", "sr"):
            state = JobState(
                job_id="job-1",
                total=2,
                status=JobStatus.RUNNING,
                outcomes=outcomes,
                webhook=Webhook(url=receiver.url, events=("job.started", "job.progress")),
            )
            value, headers = encode_state(state)
            kafka.publish(settings.topic("jobs.state"), value, headers)
        async with running(settings):
            await receiver.until(lambda it: len(it.received) == 2)
    assert {received.event["type"] for received in receiver.received} == {
        WebhookEvent.STARTED,
        WebhookEvent.PROGRESS,
    }


async def test_a_health_port_that_is_taken_ends_it_with_all_closed(settings: NotifierSettings):
    listener = socket.create_server(("127.0.0.1", settings.notifier_port))
    with listener, pytest.raises(OSError, match="address already in use"):
        await Notifier(settings).run()
