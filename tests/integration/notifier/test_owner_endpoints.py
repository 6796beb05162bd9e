"""Owners' endpoints, served by a whole notifier on the broker, with real receivers."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Standard

from imagemill.settings import NotifierSettings
from imagemill.webhooks.endpoints import seal_secret
from imagemill.webhooks.secrets import new_secret
from notifier.service import Notifier
from schemas.cloudevents import decode_endpoint_status, decode_webhook, encode, encode_state
from schemas.jobs import JobState, JobStatus, Webhook
from schemas.times import now
from schemas.topics import WEBHOOKS_DELAYS
from schemas.webhooks import (
    WebhookDelivery,
    WebhookEndpoint,
    WebhookReplay,
    WebhookTest,
    WebhookTrigger,
)
from tests.support.endpoints import ID, KEY, SEALER, endpoint
from tests.support.notifier import SECRET, Receiver, finished
from tests.support.topic_log import TopicLog
from tests.support.waiting import wait_until_async


class System:
    """The topics of a notifier, written as APIs and processor do, and read."""

    def __init__(self, settings: NotifierSettings, kafka: TopicLog) -> None:
        self.settings = settings
        self.kafka = kafka

    def put(self, made: WebhookEndpoint) -> WebhookEndpoint:
        """Write an endpoint as the API does; its key decides the partition of no test."""
        topic = self.settings.topic("webhooks.endpoints")
        self.kafka.publish(topic, made.model_dump_json().encode(), key=made.endpoint_id.encode())
        return made

    def send(self, topic: str, event: Any) -> None:
        value, headers = encode(event)
        self.kafka.publish(self.settings.topic(topic), value, headers)

    def end(self, job_id: str, webhook: Webhook | None = None, **changes: Any) -> None:
        self.send("jobs.results", finished(job_id, webhook, **changes))

    async def records(
        self, topic: str, wanted: Callable[[list[Any]], bool] = lambda found: len(found) > 0
    ) -> list[Any]:
        """Wait until the deliveries or attempts on a topic are as wanted."""
        name = self.settings.topic(topic)

        def read() -> list[Any]:
            return [decode_webhook(m.headers(), m.value()) for m in self.kafka.messages(name)]

        return await wait_until_async(read, wanted)

    async def place(self, topic: str, delivery_id: str) -> tuple[int, int]:
        """The partition and offset of a delivery's record."""
        for message in self.kafka.messages(self.settings.topic(topic)):
            record = decode_webhook(message.headers(), message.value())
            if record.delivery_id == delivery_id:
                return message.partition(), message.offset()
        raise AssertionError(f"{delivery_id} is not on {topic}")

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[None]:
        notifier = Notifier(self.settings.model_copy(update=changes))
        run = asyncio.create_task(notifier.run())
        try:
            yield
        finally:
            notifier.stop()
            await asyncio.wait_for(run, 30)


@pytest.fixture
def system(settings: NotifierSettings, kafka: TopicLog) -> System:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    key = type(settings.webhook_secret)(base64.b64encode(KEY).decode())
    changes = {"notifier_port": port, "webhook_encryption_key": key}
    return System(settings.model_copy(update=changes), kafka)


async def refuse(_time: int) -> web.Response:
    return web.Response(status=500, text="x" * 5000)


def types(receiver: Receiver) -> set[str]:
    return {received.event["type"] for received in receiver.received}


async def test_an_owners_endpoints_get_the_events_they_ask_for(system: System):
    asked = ("job.started", "job.failed")
    async with Receiver() as ada, Receiver() as bob, Receiver() as own:
        system.put(endpoint("ep_ada00001", asked, url=ada.url, owner="ada", secret=SECRET))
        system.put(endpoint("ep_bob00001", asked, url=bob.url, owner="bob", secret=SECRET))
        async with system.running():
            state = JobState(job_id="j", total=1, status=JobStatus.RUNNING, owner="ada")
            value, headers = encode_state(state.evolve(outcomes="r"))
            system.kafka.publish(system.settings.topic("jobs.state"), value, headers)
            system.end("j", Webhook(url=own.url), status=JobStatus.FAILED, owner="ada")
            await ada.until(lambda it: types(it) == set(asked))
            await own.until(lambda it: types(it) == {"job.finished"})
    assert bob.received == []
    attempts = await system.records("webhooks.attempts", lambda found: len(found) == 3)
    assert {(each.endpoint_id, each.owner, each.event) for each in attempts} == {
        ("ep_ada00001", "ada", "job.started"),
        ("ep_ada00001", "ada", "job.failed"),
        (None, "ada", "job.finished"),
    }
    assert {each.body for each in attempts} != {None}


async def test_an_endpoint_that_changes_is_served_as_it_is_then(system: System):
    async with Receiver() as first, Receiver() as second:
        made = system.put(endpoint(url=first.url, secret=SECRET))
        async with system.running():
            system.end("job-1")
            await first.until(lambda it: it.jobs() == {"job-1"})
            system.put(made.evolve(url=second.url))
            # Read in the order of the log: once this one is posted, the change is known.
            system.put(endpoint("ep_probe001", url=second.url, secret=SECRET))
            numbers = iter(range(100))

            async def probed() -> bool:
                system.end(f"probe-{next(numbers)}")
                await asyncio.sleep(0.1)
                return len(second.received) > 0

            async with asyncio.timeout(20):
                while not await probed():
                    pass
            before = len(first.received)
            system.end("job-2")
            await second.until(lambda it: "job-2" in it.jobs())
            assert len(first.received) == before


async def test_both_secrets_sign_during_a_rotation(system: System):
    old, at = SECRET, now()
    new = new_secret()
    bodies: list[tuple[bytes, dict[str, str]]] = []

    async def keep(request: web.Request) -> web.Response:
        bodies.append((await request.read(), dict(request.headers)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", keep)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/hook"
    rotated = endpoint(url=url, secret=old).rotate(seal_secret(SEALER, ID, new, at), at, 3600)
    system.put(rotated)
    async with system.running():
        system.end("job-1")
        await wait_until_async(lambda: bodies)
    await runner.cleanup()
    ((body, headers),) = bodies
    for secret in (old, new):
        assert Standard(secret).verify(body, headers)["data"]["job_id"] == "job-1"


async def test_410_disables_the_endpoint_and_tells_the_others(system: System):
    async def gone(_time: int) -> web.Response:
        return web.Response(status=410)

    async with Receiver(gone) as left, Receiver() as other:
        system.put(endpoint(url=left.url, secret=SECRET))
        system.put(endpoint("ep_other001", ("endpoint.disabled",), url=other.url, secret=SECRET))
        async with system.running():
            system.end("job-1")
            await other.until(lambda it: types(it) == {"endpoint.disabled"})
            status = system.settings.topic("webhooks.endpoint-status")
            (found,) = await wait_until_async(lambda: system.kafka.messages(status))
            assert "410" in decode_endpoint_status(found.value()).reason
            assert other.received[0].event["data"]["endpoint_id"] == ID
            (kept,) = await system.records("webhooks.dead-letter")
            assert (kept.endpoint_id, kept.attempts) == (ID, 1)
    assert len(left.received) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed(system: System):
    async with Receiver() as target:

        async def redirect(_time: int) -> web.Response:
            return web.Response(status=307, headers={"Location": target.url})

        async with Receiver(redirect) as receiver:
            system.put(endpoint(url=receiver.url, secret=SECRET))
            async with system.running():
                system.end("job-1")
                await system.records("webhooks.dead-letter")
    assert target.received == []
    attempts = await system.records("webhooks.attempts", lambda found: len(found) == 3)
    assert {(each.status, each.failure) for each in attempts} == {(307, "status")}


async def test_the_first_2_kb_of_an_answer_are_on_record(system: System):
    async with Receiver(refuse) as receiver:
        system.put(endpoint(url=receiver.url, secret=SECRET))
        async with system.running():
            system.end("job-1")
            attempts = await system.records("webhooks.attempts")
    assert attempts[0].response == "x" * 2048


async def test_what_is_due_later_waits_on_the_delay_topics(system: System):
    changes = {"webhook_retry_base_s": None, "webhook_retry_max_s": None}
    for schedule, topic in (("70s,2h", "webhooks.retry.1m"), ("11h,1d", "webhooks.retry.10h")):
        async with Receiver(refuse) as receiver:
            job_id = topic.replace(".", "-")
            async with system.running(webhook_schedule=schedule, **changes):
                system.end(job_id, Webhook(url=receiver.url))
                (waiting,) = await system.records(topic)
                assert (waiting.job_id, waiting.attempts) == (job_id, 1)
    assert await system.records("webhooks.retry", lambda found: found == []) == []


async def test_deliveries_on_a_delay_topic_go_on_when_their_time_has_come(system: System):
    ids = [f"msg_{number}" for number in range(100)]
    async with Receiver() as receiver:
        for delivery_id in ids:
            body = json.dumps({"type": "job.finished", "data": {"job_id": delivery_id}})
            delivery = WebhookDelivery(
                job_id=delivery_id,
                delivery_id=delivery_id,
                url=receiver.url,
                body=body,
                due_at=now(),
            )
            # It is due sooner than its topic's delay ends, as one of another clock may be.
            system.send(WEBHOOKS_DELAYS[60].name, delivery)
        async with system.running():
            await receiver.until(lambda it: set(it.times()) == set(ids))
    assert set(receiver.times().values()) == {1}


async def test_one_that_is_not_due_on_a_delay_topic_is_not_posted_and_read_again(system: System):
    async with Receiver() as receiver:
        delivery = WebhookDelivery(
            job_id="j",
            delivery_id="msg_later",
            url=receiver.url,
            body="{}",
            due_at="2999-01-01T00:00:00.000Z",
        )
        system.send("webhooks.retry.10h", delivery)
        for job_id in ("job-1", "job-2"):
            async with system.running():
                system.end(job_id, Webhook(url=receiver.url))
                await receiver.until(lambda it, job_id=job_id: job_id in it.jobs())
        assert set(receiver.jobs()) == {"job-1", "job-2"}
    group, topic = system.settings.group("notifier-delays"), "webhooks.retry.10h"
    assert system.kafka.committed(group, system.settings.topic(topic)) == 0


async def test_a_failed_delivery_is_replayed_while_the_endpoint_is_disabled(system: System):
    async with Receiver(refuse) as receiver:
        made = system.put(endpoint(url=receiver.url, secret=new_secret()))
        made = system.put(made.evolve(secrets=endpoint(secret=SECRET).secrets))
        async with system.running(webhook_attempts=1):
            system.end("job-1")
            (kept,) = await system.records("webhooks.dead-letter")
        system.put(made.evolve(disabled=True))
        async with system.running(webhook_attempts=1):
            partition, offset = await system.place("webhooks.dead-letter", kept.delivery_id)
            replay = WebhookReplay(
                command_id="c1",
                delivery_id=kept.delivery_id,
                topic="webhooks.dead-letter",
                partition=partition,
                offset=offset,
                at=now(),
            )
            # It fails at first, and is not retried: a second command is a second attempt.
            system.send("webhooks.commands", replay)
            await receiver.until(lambda it: len(it.received) == 2)
            receiver.answer = accept
            system.send("webhooks.commands", replay.evolve(command_id="c2"))
            await receiver.until(lambda it: len(it.received) == 3)
            attempts = await system.records("webhooks.attempts", lambda found: len(found) == 3)
    assert set(receiver.times()) == {kept.delivery_id}
    ordered = sorted(attempts, key=lambda attempt: attempt.at)
    assert [(each.trigger, each.attempt, each.status) for each in ordered] == [
        ("event", 1, 500),
        ("replay", 2, 500),
        ("replay", 2, 200),
    ]
    assert len(await system.records("webhooks.dead-letter")) == 1


async def accept(_time: int) -> web.Response:
    return web.Response(text="thanks")


async def test_an_accepted_delivery_is_replayed_from_its_attempt(system: System):
    async with Receiver(accept) as receiver, system.running():
        system.end("job-1", Webhook(url=receiver.url))
        (attempt,) = await system.records("webhooks.attempts")
        assert attempt.response == "thanks"
        partition, offset = await system.place("webhooks.attempts", attempt.delivery_id)
        replay = WebhookReplay(
            command_id="c1",
            delivery_id=attempt.delivery_id,
            topic="webhooks.attempts",
            partition=partition,
            offset=offset,
            at=now(),
        )
        system.send("webhooks.commands", replay)
        await receiver.until(lambda it: len(it.received) == 2)
    first, second = receiver.received
    assert (first.id, first.event) == (second.id, second.event)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"offset": 99}, b"no message is at"),
        ({"delivery_id": "msg_other"}, b"is of delivery msg_1"),
        ({"topic": "jobs.results"}, b"not replayed from jobs.results"),
    ],
)
async def test_a_replay_that_cannot_be_is_a_dead_letter_and_stops_nothing(
    system: System, changes: dict[str, Any], reason: bytes
):
    async with Receiver() as receiver:
        system.put(endpoint(url=receiver.url, secret=SECRET))
        delivery = WebhookDelivery(delivery_id="msg_1", url=receiver.url, body="{}")
        system.send("webhooks.dead-letter", delivery)
        replay = WebhookReplay(
            command_id="c1",
            delivery_id="msg_1",
            topic="webhooks.dead-letter",
            partition=0,
            offset=0,
            at=now(),
        )
        system.send("webhooks.commands", replay.evolve(**changes))
        system.send("webhooks.commands", WebhookTest(command_id="c2", endpoint_id=ID, at=now()))
        async with system.running():
            await receiver.until(lambda it: len(it.received) == 1)
            letters = system.settings.topic("jobs.dead-letter")
            (letter,) = await wait_until_async(lambda: system.kafka.messages(letters))
    assert reason in dict(letter.headers())["imagemill-error"]
    assert receiver.received[0].event["test"] is True


async def test_a_test_event_is_posted_once_and_found_by_its_id(system: System):
    async with Receiver(refuse) as receiver:
        system.put(endpoint(url=receiver.url, secret=SECRET, disabled=True))
        command = WebhookTest(command_id="c", endpoint_id=ID, event="job.failed", at=now())
        async with system.running():
            system.send("webhooks.commands", command)
            (attempt,) = await system.records("webhooks.attempts")
    assert attempt.delivery_id == command.delivery_id
    assert (attempt.trigger, attempt.next_at) == (WebhookTrigger.TEST, None)
    assert await system.records("webhooks.dead-letter", lambda found: found == []) == []


async def test_a_failing_endpoint_is_probed_and_its_other_deliveries_wait(system: System):
    async with Receiver(refuse) as receiver, Receiver() as fast:
        system.put(endpoint(url=receiver.url, secret=SECRET, events=("job.finished",)))
        async with system.running(webhook_attempts=10, webhook_per_host=1):
            for number in range(12):
                system.end(f"job-{number}", Webhook(url=fast.url))
            await fast.until(lambda it: len(it.jobs()) == 12)
            waiting = await system.records("webhooks.retry.1m", lambda found: len(found) == 12)
            assert len(receiver.received) == 5
    assert {each.postponed for each in waiting} == {1}
