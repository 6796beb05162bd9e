"""The notifier on a real broker, with real receivers that verify every signature."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from imagemill.local.broker.process import LocalBroker
from imagemill.settings import NotifierSettings
from imagemill.webhooks.endpoints import seal_secret
from imagemill.webhooks.sealing import open_sealer
from schemas.jobs import JobState, JobStatus, Webhook
from schemas.webhooks import WebhookFailure
from tests.support.endpoints import CREATED, ID, endpoint
from tests.support.notifier import (
    SECRET,
    NotifierProcess,
    Receiver,
    Results,
    notifier_settings,
    ok,
)
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.longest


@pytest.fixture(scope="module")
def settings(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> NotifierSettings:
    return notifier_settings(
        broker.bootstrap,
        tmp_path_factory.mktemp("notifier"),
        f"t{uuid.uuid4().hex[:8]}.",
        notifier_port=free_port(),
        webhook_per_host=4,
        webhook_hold_s=0.5,
    )


@pytest.fixture(scope="module")
def results(settings: NotifierSettings) -> Results:
    return Results(settings)


@pytest.fixture(scope="module")
def notifier(settings: NotifierSettings, results: Results) -> Iterator[NotifierProcess]:
    process = NotifierProcess(settings).start()
    yield process
    process.close()


@pytest.fixture
async def receiver(notifier: NotifierProcess) -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def a_job() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


async def test_a_job_s_end_is_posted_signed_and_recorded(receiver: Receiver, results: Results):
    job = a_job()
    event = results.finish(job, receiver.url)
    await receiver.until(lambda it: bool(it.received))

    (got,) = receiver.received
    assert got.event["type"] == "job.finished"
    assert got.event["data"]["job_id"] == job
    assert got.event["data"]["items"][0]["result"]["url"].endswith(f"{job}/0.png")
    assert got.event["timestamp"] == event.finished_at
    assert got.headers["content-type"] == "application/json"
    (attempt,) = await wait_until_async(lambda: results.attempts(job))
    assert (attempt.attempt, attempt.status, attempt.failure) == (1, 204, None)
    assert attempt.delivery_id == got.id
    assert attempt.duration_ms > 0
    await wait_until_async(results.lag, lambda lag: lag == 0)


async def test_a_background_removal_client_gets_its_own_body(receiver: Receiver, results: Results):
    job = a_job()
    results.finish(job, receiver.url, style="background_removal")
    await receiver.until(lambda it: bool(it.received))
    assert receiver.received[0].event == {
        "id": job,
        "status": "completed",
        "image_url": f"http://localhost/files/{job}/0.png",
    }


async def test_a_failed_attempt_is_repeated_under_the_same_id(receiver: Receiver, results: Results):
    async def second_time_lucky(time: int) -> web.Response:
        return web.Response(status=200 if time == 2 else 500, text="out of order")

    receiver.answer = second_time_lucky
    job = a_job()
    results.finish(job, receiver.url)
    await receiver.until(lambda it: len(it.received) == 2)

    assert len(receiver.times()) == 1
    attempts = await wait_until_async(lambda: results.attempts(job), lambda got: len(got) == 2)
    assert [attempt.status for attempt in attempts] == [500, 200]
    assert attempts[0].failure == WebhookFailure.STATUS
    assert attempts[0].response == "out of order"
    assert attempts[0].next_at > attempts[0].at
    await wait_until_async(results.lag, lambda lag: lag == 0)
    assert results.given_up(job) == []


async def test_retry_after_is_honoured(receiver: Receiver, results: Results):
    async def later(time: int) -> web.Response:
        return web.Response(status=204 if time == 2 else 429, headers={"Retry-After": "1"})

    receiver.answer = later
    job = a_job()
    results.finish(job, receiver.url)
    await receiver.until(lambda it: len(it.received) == 2)
    assert 1 <= receiver.received[1].at - receiver.received[0].at < 5
    # Where it is in nobody's way, and with what was tried.
    waited = await wait_until_async(lambda: results.waited(job))
    assert waited[0].attempts == 1
    attempts = await wait_until_async(lambda: results.attempts(job), lambda got: len(got) == 2)
    assert [attempt.attempt for attempt in attempts] == [1, 2]


async def test_what_always_fails_is_given_up_and_kept(receiver: Receiver, results: Results):
    async def broken(_time: int) -> web.Response:
        return web.Response(status=503)

    receiver.answer = broken
    job = a_job()
    results.finish(job, receiver.url)

    (kept,) = await wait_until_async(lambda: results.given_up(job))
    assert kept.attempts == 3
    assert kept.url == receiver.url
    assert "status 503" in kept.reason
    assert f'"job_id":"{job}"' in kept.body
    assert len(receiver.received) == 3
    assert len(results.attempts(job)) == 3
    await wait_until_async(results.lag, lambda lag: lag == 0)


async def test_a_receiver_that_wants_no_more_is_left_alone(receiver: Receiver, results: Results):
    async def gone(_time: int) -> web.Response:
        return web.Response(status=410)

    receiver.answer = gone
    job = a_job()
    results.finish(job, receiver.url)
    (kept,) = await wait_until_async(lambda: results.given_up(job))
    assert "410" in kept.reason
    assert len(receiver.received) == 1


async def test_redirects_are_not_followed(receiver: Receiver, results: Results):
    async def elsewhere(_time: int) -> web.Response:
        return web.Response(status=302, headers={"Location": receiver.url})

    receiver.answer = elsewhere
    job = a_job()
    results.finish(job, receiver.url)
    (kept,) = await wait_until_async(lambda: results.given_up(job))
    assert "redirects are not followed" in kept.reason
    assert len(receiver.received) == 3


async def test_a_silent_receiver_times_out(receiver: Receiver, results: Results):
    async def silent(_time: int) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    receiver.answer = silent
    job = a_job()
    results.finish(job, receiver.url)
    (kept,) = await wait_until_async(lambda: results.given_up(job))
    assert "did not answer in time" in kept.reason
    assert {attempt.failure for attempt in results.attempts(job)} == {WebhookFailure.TIMEOUT}


@pytest.mark.parametrize(
    ("url", "failure", "tries"),
    [
        ("http://127.0.0.2:9/hook", WebhookFailure.BLOCKED, 1),
        ("http://10.0.0.1/hook", WebhookFailure.BLOCKED, 1),
        ("http://[::1]:9/hook", WebhookFailure.BLOCKED, 1),
        ("ftp://127.0.0.1/hook", WebhookFailure.BLOCKED, 1),
        ("http://127.0.0.1:9/hook", WebhookFailure.UNREACHABLE, 3),
        ("http://no-such-host.invalid/hook", WebhookFailure.UNREACHABLE, 3),
    ],
)
async def test_urls_that_lead_nowhere_are_given_up(
    notifier: NotifierProcess, results: Results, url: str, failure: WebhookFailure, tries: int
):
    job = a_job()
    results.finish(job, url)
    await wait_until_async(lambda: results.given_up(job))
    attempts = results.attempts(job)
    assert [attempt.failure for attempt in attempts] == [failure] * tries
    assert "127.0.0" not in attempts[0].message
    await wait_until_async(results.lag, lambda lag: lag == 0)


async def test_undecodable_messages_are_set_aside_with_the_reason(
    receiver: Receiver, results: Results
):
    results.publish("poison-1", b"{", [("ce_type", b"io.imagemill.job.finished.v1")])
    results.publish("poison-2", b"\xff\x00", [])
    results.publish("poison-3", None, [("ce_type", b"io.imagemill.job.finished.v1")])
    results.publish("poison-4", b"{}", [("ce_type", b"io.imagemill.job.exploded.v9")])
    job, big = a_job(), a_job()
    results.finish(big, receiver.url, metadata={"n": 10**30})
    results.finish(job, receiver.url)

    await receiver.until(lambda it: it.jobs() == {job, big})
    await wait_until_async(results.lag, lambda lag: lag == 0)
    letters = {m.key(): m for m in results.dead_letters()}
    assert set(letters) == {b"poison-1", b"poison-2", b"poison-3", b"poison-4"}
    headers = dict(letters[b"poison-2"].headers())
    assert letters[b"poison-2"].value() == b"\xff\x00"
    assert headers["imagemill-error"] == b"the message has no ce_type header"
    assert headers["imagemill-source-topic"].endswith(b"jobs.results")


async def test_jobs_without_a_webhook_are_passed_over(receiver: Receiver, results: Results):
    quiet, asking = a_job(), a_job()
    results.finish(quiet, None)
    results.finish(asking, receiver.url)
    await receiver.until(lambda it: it.jobs() == {asking})
    await wait_until_async(results.lag, lambda lag: lag == 0)
    assert results.attempts(quiet) == []


async def test_a_running_job_is_told_of_to_who_asked_for_it(receiver: Receiver, results: Results):
    job, every = a_job(), ("job.started", "job.progress", "job.finished")
    for name, events in ((job, every), (a_job(), ("job.finished",))):
        state = JobState(
            job_id=name,
            total=4,
            status=JobStatus.RUNNING,
            started_at="2026-01-01T00:00:00.500Z",
            webhook=Webhook(url=receiver.url, events=events),
        )
        for outcomes in ("r...", "sr..", "ssr.", "ssfr"):
            results.state(state.evolve(outcomes=outcomes))

    def posted(it: Receiver) -> set[tuple[str, int]]:
        events = [received.event for received in it.received]
        return {(event["type"], event["data"]["progress"]["processed"]) for event in events}

    await receiver.until(lambda it: {("job.started", 0), ("job.progress", 3)} <= posted(it))
    assert receiver.jobs() == {job}
    assert set(receiver.times().values()) == {1}
    last = next(it.event for it in receiver.received if it.event["data"]["progress"]["failed"])
    assert last["data"]["progress"] == {"total": 4, "processed": 3, "failed": 1}
    assert last["data"]["status"] == "running"


async def test_the_health_port_tells_what_is_under_way(
    settings: NotifierSettings, receiver: Receiver, results: Results
):
    release = asyncio.Event()

    async def hang(_time: int) -> web.Response:
        await asyncio.wait_for(release.wait(), 10)
        return web.Response()

    def report() -> dict[str, Any]:
        url = f"http://127.0.0.1:{settings.notifier_port}/healthz"
        return requests.get(url, timeout=5).json()

    receiver.answer = hang
    results.finish(a_job(), receiver.url)
    await receiver.until(lambda it: bool(it.received))
    assert (await asyncio.to_thread(report)) == {
        "status": "ok",
        "ready": True,
        "deliveries": 1,
        "uncommitted": 1,
    }
    release.set()
    await wait_until_async(report, lambda got: got["uncommitted"] == 0)


class Fleet:
    """Notifiers on topics of one test alone."""

    def __init__(self, make: Callable[..., NotifierSettings]) -> None:
        self._make = make
        self.processes: list[NotifierProcess] = []
        self.settings = make()
        self.results = Results(self.settings)

    def start(self, **fields: Any) -> NotifierProcess:
        """One more."""
        process = NotifierProcess(self._make(**fields))
        self.processes.append(process)
        return process.start()


@pytest.fixture
def fleet(broker: Any, tmp_path, topic_prefix: str, free_port) -> Iterator[Fleet]:
    def make(**fields: Any) -> NotifierSettings:
        return notifier_settings(
            broker.bootstrap, tmp_path, topic_prefix, **({"notifier_port": free_port()} | fields)
        )

    fleet = Fleet(make)
    yield fleet
    for process in fleet.processes:
        process.close()


async def slowly(time: int) -> web.Response:
    await asyncio.sleep(0.03)
    return await ok(time)


async def test_a_killed_notifier_loses_nothing(fleet: Fleet):
    async with Receiver(slowly) as receiver:
        jobs = {a_job() for _ in range(300)}
        for job in jobs:
            fleet.results.finish(job, receiver.url)
        first = await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: len(it.jobs()) > 60)
        first.kill()
        assert len(receiver.jobs()) < 300

        await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: it.jobs() == jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        # What came twice came under the same id, so a receiver can drop it.
        assert len(receiver.times()) == 300


async def test_a_killed_notifier_loses_nothing_for_an_owners_endpoint(fleet: Fleet):
    async with Receiver(slowly) as receiver:
        settings = fleet.settings
        secret = seal_secret(open_sealer(settings), ID, SECRET, CREATED)
        fleet.results.endpoint(endpoint(url=receiver.url, secrets=(secret,), owner="ada"))
        jobs = {a_job() for _ in range(200)}
        for job in jobs:
            fleet.results.finish(job, None, owner="ada")
        first = await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: len(it.jobs()) > 40)
        first.kill()
        assert len(receiver.jobs()) < 200

        await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: it.jobs() == jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        assert len(receiver.times()) == 200


async def test_a_stopped_notifier_finishes_what_it_posts_and_repeats_nothing(fleet: Fleet):
    async with Receiver(slowly) as receiver:
        jobs = {a_job() for _ in range(200)}
        for job in jobs:
            fleet.results.finish(job, receiver.url)
        first = await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: len(it.jobs()) > 50)
        assert await asyncio.to_thread(first.terminate) == 0
        assert 50 < len(receiver.jobs()) < 200

        await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: it.jobs() == jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        assert set(receiver.times().values()) == {1}


async def test_a_second_notifier_takes_its_share_without_loss(fleet: Fleet):
    async with Receiver(slowly) as receiver:
        jobs = {a_job() for _ in range(400)}
        for job in jobs:
            fleet.results.finish(job, receiver.url)
        first = await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: len(it.jobs()) > 20)
        await asyncio.to_thread(fleet.start)
        await receiver.until(lambda it: len(it.jobs()) > 150)
        await asyncio.to_thread(first.terminate)
        await receiver.until(lambda it: it.jobs() == jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)


async def test_more_results_than_it_may_hold_are_delivered_all(fleet: Fleet):
    async with Receiver() as receiver:

        async def long_at_first(time: int) -> web.Response:
            # Longer than reading waits for capacity, so that partitions pause and go on.
            await asyncio.sleep(2 if len(receiver.received) <= 3 else 0.03)
            return await ok(time)

        receiver.answer = long_at_first
        jobs = {a_job() for _ in range(60)}
        for job in jobs:
            fleet.results.finish(job, receiver.url)
        fields = {"webhook_backlog": 3, "webhook_timeout_s": 10.0}
        await asyncio.to_thread(lambda: fleet.start(**fields))
        await receiver.until(lambda it: len(it.received) == 3)
        await receiver.until(lambda it: it.jobs() == jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        assert set(receiver.times().values()) == {1}


async def test_a_slow_receiver_holds_up_nobody_else(fleet: Fleet):
    release = asyncio.Event()

    async def hang(_time: int) -> web.Response:
        await asyncio.wait_for(release.wait(), 20)
        return web.Response()

    async with Receiver(hang) as slow, Receiver() as receiver:
        slow_jobs = {a_job() for _ in range(12)}
        fast_jobs = {a_job() for _ in range(40)}
        for job in slow_jobs:
            fleet.results.finish(job, slow.url)
        for job in fast_jobs:
            fleet.results.finish(job, receiver.url)
        fields = {"webhook_timeout_s": 20.0, "webhook_hold_s": 20.0, "webhook_per_host": 4}
        await asyncio.to_thread(lambda: fleet.start(**fields))

        await receiver.until(lambda it: it.jobs() == fast_jobs, timeout_s=10)
        # The fast ones are done, but nothing is committed past the slow ones before them.
        assert fleet.results.lag() >= len(fast_jobs)
        assert len(slow.jobs()) <= 4

        release.set()
        await slow.until(lambda it: it.jobs() == slow_jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        assert set(receiver.times().values()) == {1}


async def test_a_receiver_that_hangs_stops_neither_others_nor_the_log(fleet: Fleet):
    release = asyncio.Event()

    async def hang(_time: int) -> web.Response:
        await asyncio.wait_for(release.wait(), 20)
        return web.Response()

    async with Receiver(hang) as slow, Receiver() as receiver:
        slow_jobs = {a_job() for _ in range(60)}
        fast_jobs = {a_job() for _ in range(20)}
        for job in slow_jobs:
            fleet.results.finish(job, slow.url)
        for job in fast_jobs:
            fleet.results.finish(a_job(), None)
            fleet.results.finish(job, receiver.url)
        fields = {"webhook_backlog": 40, "webhook_per_host": 2, "webhook_hold_s": 0.5}
        await asyncio.to_thread(lambda: fleet.start(webhook_timeout_s=20.0, **fields))
        await receiver.until(lambda it: it.jobs() == fast_jobs, timeout_s=10)
        assert len(slow.received) == 2

        # None of those that found no place is lost, or posted more than once.
        release.set()
        await slow.until(lambda it: it.jobs() == slow_jobs)
        await wait_until_async(fleet.results.lag, lambda lag: lag == 0)
        assert set((slow.times() + receiver.times()).values()) == {1}
        # Nor written again and again while it waits.
        waited = Counter(entry.job_id for entry in await asyncio.to_thread(fleet.results.waited))
        assert len(waited) > 50 and set(waited.values()) == {1}


async def test_a_broker_that_dies_in_mid_delivery_costs_no_record(
    own_broker: LocalBroker, tmp_path: Path, topic_prefix: str, free_port: Callable[[], int]
):
    settings = notifier_settings(
        own_broker.bootstrap, tmp_path / "home", topic_prefix, notifier_port=free_port()
    )
    results = Results(settings)
    notifier = NotifierProcess(settings)
    try:
        async with Receiver(slowly) as receiver:
            jobs = {a_job() for _ in range(60)}
            for job in jobs:
                results.finish(job, receiver.url)
            await asyncio.to_thread(notifier.start)
            await receiver.until(lambda it: len(it.jobs()) > 10)
            await asyncio.to_thread(own_broker.kill)
            await asyncio.to_thread(own_broker.start)

            await receiver.until(lambda it: it.jobs() == jobs, timeout_s=60)
            await wait_until_async(results.lag, lambda lag: lag == 0, timeout_s=60)
            attempts = await asyncio.to_thread(results.attempts)
            assert {attempt.job_id for attempt in attempts if attempt.status == 204} == jobs
            assert len(receiver.times()) == 60
    finally:
        notifier.close()
