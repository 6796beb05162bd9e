"""The guarantees (docs/guarantees.md) under kills and losses, with real broker and workers."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from confluent_kafka import Consumer
from PIL import Image

from imagemill.local.broker.process import LocalBroker
from imagemill.storage import upload_key
from schemas import topics
from schemas.errors import ErrorCode
from schemas.events import ItemFinished, JobSubmitted
from schemas.jobs import ItemInput, JobStatus, Priority, Progress
from schemas.times import now
from tests.chaos.conftest import Served
from tests.chaos.harness import (
    CHECKERS,
    Load,
    NoLag,
    Results,
    Stage,
    Workers,
    read_facts,
    read_topic,
    workers,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest

Ports = Callable[[], int]


def _mixed_load(load: Load, rng: random.Random, jobs: int) -> None:
    """Submit jobs of all priorities: mostly no-ops, 5 % that take 20 ms, 1 % batches."""
    for _ in range(jobs):
        chance = rng.random()
        if chance < 0.01:
            load.batch(rng.randint(2, 6), seconds=0.01)
        elif chance < 0.06:
            load.submit("nap", rng.choice(list(Priority)), seconds=0.02)
        else:
            load.submit("noop", rng.choice(list(Priority)))


class _Havoc:
    """Kills, stops, restarts and adds workers, one event at a time."""

    def __init__(self, running: Workers, rng: random.Random) -> None:
        self._running = running
        self._rng = rng
        self._joined = len(running.names)
        self.events: list[str] = []

    def strike(self, event: str) -> None:
        """Do one event to a random worker."""
        name = self._rng.choice(self._running.names)
        if event == "join":
            self._joined += 1
            name = self._running.start(f"w{self._joined}")
        elif event == "kill":
            self._running.kill(name)
        elif event == "restart":
            self._running.kill(name)
            self._running.start(name)
        elif event == "leave":
            # Not during its start, when it owns no partition yet.
            self._running.wait_ready(name)
            assert self._running.stop(name) == 0, f"{name} did not stop cleanly"
        self.events.append(f"{event} {name}")


def test_workers_may_be_killed_restarted_joined_and_stopped_in_mid_load(
    stage: Stage, free_port: Ports
) -> None:
    rng = random.Random(20260301)
    load, results = Load(stage), Results(stage)
    with workers(stage, free_port, slots=1) as running:
        for name in ("w1", "w2", "w3"):
            running.start(name)
        _mixed_load(load, rng, 1500)
        running.wait_ready()
        havoc = _Havoc(running, rng)
        for event in ("restart", "leave", "join", "restart", "kill", "join", "restart"):
            havoc.strike(event)
            _mixed_load(load, rng, 150)
            until = time.monotonic() + rng.uniform(0.5, 2.5)
            while time.monotonic() < until:
                results.read(0.1)
                running.revive()
        load.flush()
        results.wait_for(load.jobs, 180, meanwhile=running.revive)
        for checker in CHECKERS:
            checker.check(load, results, stage)
        assert not running.deaths, f"{running.deaths} died by themselves: {havoc.events}"


def test_what_the_client_loses_is_read_again(stage: Stage, free_port: Ports) -> None:
    load, results = Load(stage), Results(stage)
    with workers(stage, free_port, slots=1, CHAOS_LOSS="0.02") as running:
        running.start("w1")
        running.wait_ready()
        _mixed_load(load, random.Random(20260303), 600)
        load.flush()
        results.wait_for(load.jobs, 180)
        for checker in CHECKERS:
            checker.check(load, results, stage)
        assert running.lines(r"processor.messages.admission: .* back to \d+"), "nothing was lost"
        assert not running.deaths


def test_a_broker_may_be_killed_in_mid_load(
    own_stage: Stage, own_broker: LocalBroker, free_port: Ports
) -> None:
    rng = random.Random(20260302)
    load, results = Load(own_stage), Results(own_stage)
    with workers(own_stage, free_port, slots=1) as running:
        running.start("w1")
        running.start("w2")
        running.wait_ready()
        _mixed_load(load, rng, 1000)
        results.wait_for([next(iter(load.jobs))], 30)
        own_broker.kill()
        _mixed_load(load, rng, 200)
        own_broker.start()
        _mixed_load(load, rng, 200)
        load.flush()
        results.wait_for(load.jobs, 180, meanwhile=running.revive)
        for checker in CHECKERS:
            checker.check(load, results, own_stage)


def test_a_stop_finishes_what_runs_and_hands_back_the_rest(stage: Stage, free_port: Ports) -> None:
    load, results = Load(stage), Results(stage)
    with workers(stage, free_port, slots=1) as running:
        running.start("w1")
        running.wait_ready()
        jobs = [load.submit("nap", seconds=2.0) for _ in range(3)]
        load.flush()
        wait_until(lambda: read_facts(stage, jobs[0]), timeout_s=30, what="the first nap's start")
        assert running.stop("w1") == 0
        results.read(1.0)
        ended = [job for job in jobs if job.job_id in results.events]
        running.start("w2")
        results.wait_for(load.jobs, 180)
        for checker in CHECKERS:
            checker.check(load, results, stage)
    assert len(ended) < len(jobs)
    for job in jobs:
        ends = [fact for fact in read_facts(stage, job) if isinstance(fact, ItemFinished)]
        assert len(ends) == 1, f"{job.job_id} was run {len(ends)} times"


def test_high_goes_before_low_while_low_jobs_wait(served: Served) -> None:
    load, results = served.load, served.results
    low = [load.submit("nap", Priority.LOW, seconds=0.05) for _ in range(200)]
    load.flush()
    results.wait_for([low[0].job_id], 30)
    sent = now()
    high = [load.submit("nap", Priority.HIGH, seconds=0.05) for _ in range(10)]
    load.flush()
    results.wait_for([job.job_id for job in low + high], 60)
    served_at = max(results.of(job).finished_at for job in high)
    ends = [results.of(job).finished_at for job in low]
    before, waited = sum(end <= sent for end in ends), sum(end > served_at for end in ends)
    assert waited > 0, "no low job waited for the high ones"
    passed = len(low) - before - waited
    assert passed < 50, f"{passed} low jobs ended between the sending of high ones and their end"
    assert all(results.of(job).status is JobStatus.SUCCEEDED for job in low + high)


def test_a_batch_with_one_broken_file_succeeds_and_says_which(served: Served, photos: Path) -> None:
    names = ["astronaut.png", "chelsea.png", "coffee.png"]
    batch = uuid.uuid4().hex
    inputs = []
    for index in range(10):
        name = names[index % 3]
        data = (photos / name).read_bytes()
        key = upload_key(batch, index)
        served.stage.store.put(key, data[:5000] if index == 4 else data, "image/png")
        inputs.append(ItemInput(filename=name, key=key, content_type="image/png"))
    job = served.load.submit("halve", inputs=inputs)
    served.load.flush()
    served.results.wait_for([job.job_id], 60)
    ended = served.results.of(job)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.progress == Progress(total=10, processed=10, failed=1)
    for item in ended.items:
        if item.index == 4:
            assert item.status is JobStatus.FAILED
            assert item.error is not None and item.error.code is ErrorCode.IMAGE_UNDECODABLE
            continue
        assert item.result is not None
        with served.stage.store.open(item.result["key"]) as file, Image.open(file) as made:
            assert made.size == (item.result["width"], item.result["height"])
            with Image.open(photos / names[item.index % 3]) as photo:
                assert made.size == ((photo.width + 1) // 2, (photo.height + 1) // 2)


def test_a_cancel_ends_batches_that_wait_and_that_run(served: Served) -> None:
    load, results = served.load, served.results
    runs = load.batch(40, seconds=0.2)
    load.flush()
    wait_until(
        lambda: any(isinstance(f, ItemFinished) for f in read_facts(served.stage, runs)),
        timeout_s=30,
        what="an item of the running batch",
    )
    waits = load.batch(40, priority=Priority.LOW, seconds=0.2)
    load.cancel(runs)
    load.cancel(waits)
    load.flush()
    results.wait_for([runs.job_id, waits.job_id], 30)
    assert results.of(waits).status is results.of(runs).status is JobStatus.CANCELLED
    statuses = Counter(item.status for item in results.of(runs).items)
    assert statuses[JobStatus.SUCCEEDED] >= 1
    assert statuses[JobStatus.CANCELLED] >= 20
    assert {item.status for item in results.of(waits).items} == {JobStatus.CANCELLED}
    after = load.submit("noop")
    load.flush()
    results.wait_for([after.job_id], 30)
    NoLag().check(load, results, served.stage)
    results.read(0.5)
    assert len(results.events[runs.job_id]) == 1, "an item that ran to its end ended the job again"


def test_a_cancel_after_the_end_changes_nothing(served: Served) -> None:
    job = served.load.submit("noop")
    served.load.flush()
    served.results.wait_for([job.job_id], 30)
    served.load.cancel(job)
    served.load.flush()
    NoLag().check(served.load, served.results, served.stage)
    served.results.read(0.5)
    assert {event.status for event in served.results.events[job.job_id]} == {JobStatus.SUCCEEDED}


def test_the_results_are_read_by_a_plain_consumer_group(served: Served) -> None:
    """With no code of ours: confluent-kafka as in its documentation, and the CloudEvents SDK."""
    consumer = Consumer(
        {
            "bootstrap.servers": served.stage.bootstrap,
            "group.id": f"{served.stage.prefix}plain",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([f"{served.stage.prefix}jobs.results"])
    jobs = {served.load.submit("noop").job_id for _ in range(5)}
    jobs |= {served.load.submit("nap", seconds=0.01).job_id for _ in range(5)}
    served.load.flush()
    seen = {}

    def all_seen() -> bool:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            event = from_binary_event(
                KafkaMessage(dict(message.headers()), message.key(), message.value())
            )
            if event.get_subject() in jobs:
                assert message.key().decode() == event.get_subject()
                seen[event.get_subject()] = event
        return seen.keys() == jobs

    wait_until(all_seen, timeout_s=60, what="ten results")
    consumer.close()
    for event in seen.values():
        assert event.get_type() == "io.imagemill.job.finished.v1"
        assert (
            event.get_id() == f"{event.get_subject()}/job.finished.v1/{event.get_data()['status']}"
        )
        assert event.get_data()["progress"]["total"] == 1


UNREADABLE = [
    ("jobs.normal", None),
    ("jobs.normal", []),
    ("jobs.normal", [("ce_type", None)]),
    ("jobs.normal", [("ce_type", JobSubmitted.TYPE.encode())]),
    ("jobs.normal", [("ce_type", ItemFinished.TYPE.encode())]),
    ("jobs.control", []),
    ("jobs.retry", []),
    ("jobs.events", []),
    ("jobs.events", [("ce_type", ItemFinished.TYPE.encode())]),
]


def _dead_letters(stage: Stage) -> dict[tuple[int, int], Any]:
    messages = read_topic(stage, topics.JOBS_DEAD_LETTER.name)
    return {(message.partition(), message.offset()): message for message in messages}


@pytest.mark.parametrize("value", [b"\xff\x00{", None], ids=["garbage", "null"])
def test_what_cannot_be_read_goes_to_the_dead_letters_and_stops_nothing(
    served: Served, value: bytes | None
) -> None:
    before = _dead_letters(served.stage).keys()
    for number, (topic, headers) in enumerate(UNREADABLE):
        # Twelve keys, so that every partition has one of these before the good jobs below.
        for copy in range(12):
            key = None if number == 0 and copy == 0 else f"unreadable-{number}-{copy}"
            served.load.publish(topic, key, value, headers)
    jobs = []
    for number in range(20):
        job = served.load.submit("noop", inputs=[ItemInput()] * (3 * (number % 2)))
        jobs.append(job)
        # A second, undecodable submission of the same job id right behind it.
        broken = b'{"job_id":"%s","inputs":5}' % job.job_id.encode()
        served.load.publish("jobs.normal", job.job_id, broken, UNREADABLE[3][1])
    served.load.flush()
    served.results.wait_for([job.job_id for job in jobs], 60)
    NoLag().check(served.load, served.results, served.stage)
    ends = [event for job in jobs for event in served.results.events[job.job_id]]
    assert {(event.status, event.progress.failed) for event in ends} == {(JobStatus.SUCCEEDED, 0)}
    letters = _dead_letters(served.stage)
    new = letters.keys() - before
    assert len(new) == 12 * len(UNREADABLE) + len(jobs)
    for letter in (letters[where] for where in new):
        headers = dict(letter.headers())
        assert letter.value() in (value, value or b"") or b'"inputs":5' in letter.value()
        assert headers["imagemill-source-topic"].startswith(served.stage.prefix.encode())
        assert headers["imagemill-source-offset"].isdigit()
        assert headers["imagemill-error"]
    assert not served.running.deaths
