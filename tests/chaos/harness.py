"""Workers to kill and to add, a load of jobs, and checkers of the guarantees."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from imagemill.kafka.config import client_config, producer_config
from imagemill.kafka.topics import create_topics
from imagemill.settings import KafkaSettings, StoreSettings
from imagemill.storage import ObjectStore, open_store
from schemas import cloudevents, topics
from schemas.events import AnyEvent, CancelRequested, JobFinished, JobSubmitted
from schemas.jobs import ItemInput, JobState, Priority
from schemas.times import now
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugin"
# Without it librdkafka logs every refused connection while a broker is down.
_QUIET = {"log_level": 0}
_READ_TOPICS = (
    *topics.PRIORITY_TOPICS.values(),
    topics.JOBS_CONTROL,
    topics.JOBS_RETRY,
    topics.JOBS_EVENTS,
)


@dataclass(frozen=True)
class Stage:
    """The cluster, topics and folder of one test."""

    bootstrap: str
    prefix: str
    folder: Path
    partitions: int = 4

    @property
    def kafka(self) -> KafkaSettings:
        """Settings of clients."""
        return KafkaSettings(
            _env_file=None,  # type: ignore[call-arg]
            kafka_bootstrap_servers=self.bootstrap,
            topic_prefix=self.prefix,
            topic_partitions=self.partitions,
        )

    @property
    def store(self) -> ObjectStore:
        """The workers' object store."""
        return open_store(
            StoreSettings(_env_file=None, home=self.folder / "home")  # type: ignore[call-arg]
        )

    def create_topics(self) -> Stage:
        """Create the topics; returns itself."""
        create_topics(self.kafka)
        return self


class Workers:
    """Processes of `python -m processor`, by worker id; `revive` restarts those that died."""

    def __init__(
        self, stage: Stage, port: Callable[[], int], *, slots: int = 1, **settings: str
    ) -> None:
        self._stage = stage
        self._port = port
        self._ports: dict[str, int] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._settings = {"WORKER_COUNT": str(slots)} | settings
        self.deaths: Counter[str] = Counter()

    @property
    def names(self) -> list[str]:
        """The workers that were started and neither killed nor stopped."""
        return sorted(self._processes)

    def start(self, name: str) -> str:
        """Start a worker, or start it again under its name; return the name."""
        port = self._ports.setdefault(name, self._port())
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "processor"],
                env=self._environment(name, port),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return name

    def _environment(self, name: str, port: int) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN)]),
            "KAFKA_BOOTSTRAP_SERVERS": self._stage.bootstrap,
            "IMAGEMILL_TOPIC_PREFIX": self._stage.prefix,
            "IMAGEMILL_TOPIC_PARTITIONS": str(self._stage.partitions),
            "IMAGEMILL_HOME": str(self._stage.folder / "home"),
            # Empty: no test here needs a model, and loading one takes a worker's start seconds.
            "IMAGEMILL_MODELS": str(self._stage.folder / "models"),
            "IMAGEMILL_WORKER_ID": name,
            "IMAGEMILL_WORKER_PORT": str(port),
            **self._settings,
        }

    def log(self, name: str) -> Path:
        """The file with the worker's output."""
        return self._stage.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """kill -9 a worker: its partitions wait for its restart, or for the session timeout."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self, name: str, timeout_s: float = 45.0) -> int:
        """Send SIGTERM, wait for the clean end, and return the exit status."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout_s)

    def revive(self) -> None:
        """Restart workers that died by themselves, as the supervisor does; `deaths` counts them."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self.deaths[name] += 1
                self.start(name)

    def is_ready(self, name: str) -> bool:
        """True if the worker reports that it serves jobs."""
        url = f"http://127.0.0.1:{self._ports[name]}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait_ready(self, *names: str, timeout_s: float = 120.0) -> None:
        """Wait until the named workers serve jobs; until all do if none is named."""

        def ready() -> bool:
            self.revive()
            return all(self.is_ready(name) for name in names or self.names)

        wait_until(ready, timeout_s=timeout_s, what=f"workers {names or self.names} ready")

    def lines(self, pattern: str) -> list[str]:
        """Lines of all logs that match the pattern."""
        wanted = re.compile(pattern)
        return [
            f"{log.stem}: {line}"
            for log in sorted(self._stage.folder.glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if wanted.search(line)
        ]

    def close(self) -> None:
        """Kill all workers."""
        for name in self.names:
            self.kill(name)


@contextmanager
def workers(stage: Stage, port: Callable[[], int], **options: Any) -> Iterator[Workers]:
    """Make a set of workers that are killed at the end of the block."""
    running = Workers(stage, port, **options)
    try:
        yield running
    finally:
        running.close()


@dataclass
class Load:
    """Publishes jobs to the priority topics, without the API, and remembers them."""

    stage: Stage
    jobs: dict[str, JobSubmitted] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Longer than any outage here, so that every message of the load reaches the log.
        config = producer_config(self.stage.kafka, delivery_timeout_s=120)
        self._producer = Producer(config | {"linger.ms": 5, **_QUIET})

    def submit(
        self,
        operation: str = "noop",
        priority: Priority = Priority.NORMAL,
        inputs: Iterable[ItemInput] = (),
        owner: str | None = None,
        weight: int = 1,
        **params: Any,
    ) -> JobSubmitted:
        """Publish one job; after `flush` it is in the log."""
        inputs = tuple(inputs)
        job = JobSubmitted(
            job_id=uuid.uuid4().hex,
            operation=operation,
            params=params,
            priority=priority,
            total=max(1, len(inputs)),
            inputs=inputs,
            created_at=now(),
            owner=owner,
            weight=weight,
        )
        self.jobs[job.job_id] = job
        self.publish(topics.PRIORITY_TOPICS[priority].name, job.job_id, *cloudevents.encode(job))
        return job

    def batch(
        self,
        total: int,
        operation: str = "nap",
        priority: Priority = Priority.NORMAL,
        **params: Any,
    ) -> JobSubmitted:
        """Publish one job of `total` items that need no image."""
        inputs = [ItemInput(filename=f"{number}") for number in range(total)]
        return self.submit(operation, priority, inputs, **params)

    def cancel(self, job: JobSubmitted) -> None:
        """Publish a cancel request, as the API does."""
        event = CancelRequested(job_id=job.job_id, at=now(), job=job)
        self.publish(topics.JOBS_CONTROL.name, job.job_id, *cloudevents.encode(event))

    def publish(self, topic: str, key: str | None, value: bytes | None, headers: Any) -> None:
        """Publish any message."""
        name = self.stage.kafka.topic(topic)
        self._producer.produce(name, value, key, headers=headers, on_delivery=self._delivered)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.failures.append(error.str())

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until every published message is in the log."""
        assert self._producer.flush(timeout_s) == 0, "the broker did not take all messages"
        assert not self.failures, f"the broker refused messages: {set(self.failures)}"


class Reader:
    """Reads one topic from its beginning, as any consumer can."""

    def __init__(self, stage: Stage, topic: str) -> None:
        self._consumer = Consumer(
            client_config(stage.kafka)
            | {
                "group.id": f"{stage.prefix}test",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                **_QUIET,
            }
        )
        name = stage.kafka.topic(topic)
        known = self._consumer.list_topics(name, timeout=10).topics[name]
        self._consumer.assign(
            [TopicPartition(name, number, OFFSET_BEGINNING) for number in known.partitions]
        )

    def read(self, timeout_s: float = 0.1) -> list[Any]:
        """Return the next messages; wait at most `timeout_s` seconds for the first."""
        return [found for found in self._consumer.consume(500, timeout_s) if not found.error()]

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


class Results:
    """Terminal events by job id, in the order of their arrival."""

    def __init__(self, stage: Stage) -> None:
        self._reader = Reader(stage, topics.JOBS_RESULTS.name)
        self.events: dict[str, list[JobFinished]] = defaultdict(list)
        self.order: list[str] = []

    def read(self, timeout_s: float = 0.1) -> None:
        """Read the terminal events that have arrived."""
        for message in self._reader.read(timeout_s):
            event = cloudevents.decode(message.headers(), message.value())
            assert isinstance(event, JobFinished)
            if event.job_id not in self.events:
                self.order.append(event.job_id)
            self.events[event.job_id].append(event)

    def wait_for(
        self,
        jobs: Iterable[str],
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Read until each of the jobs has ended; AssertionError with the number of the others."""
        wanted = set(jobs)
        end = time.monotonic() + timeout_s
        while missing := wanted - self.events.keys():
            assert time.monotonic() < end, (
                f"{len(missing)} of {len(wanted)} jobs did not end in {timeout_s:.0f} s, "
                f"among them {sorted(missing)[:3]}"
            )
            meanwhile()
            self.read()

    def of(self, job: JobSubmitted) -> JobFinished:
        """The terminal event of a job that has ended."""
        return self.events[job.job_id][0]


def read_states(stage: Stage) -> dict[bytes, list[bytes | None]]:
    """All values of each key of `jobs.state`, in the order of the log."""
    found: dict[bytes, list[bytes | None]] = defaultdict(list)
    for message in read_topic(stage, topics.JOBS_STATE.name):
        found[message.key()].append(message.value())
    return found


def read_facts(stage: Stage, job: JobSubmitted) -> list[AnyEvent]:
    """All facts of one job, in the order of the log."""
    return [
        cloudevents.decode(message.headers(), message.value())
        for message in read_topic(stage, topics.JOBS_EVENTS.name)
        if message.key() == job.job_id.encode()
    ]


def read_topic(stage: Stage, topic: str, timeout_s: float = 30.0) -> list[Any]:
    """All messages that are in a topic now."""
    marks = _watermarks(stage, topic)
    reader = Reader(stage, topic)
    left = {number for number, (low, high) in marks.items() if high > low}
    messages = []
    deadline = time.monotonic() + timeout_s
    while left:
        assert time.monotonic() < deadline, f"partitions {left} of {topic} are not readable"
        for message in reader.read():
            messages.append(message)
            if message.offset() + 1 >= marks[message.partition()][1]:
                left.discard(message.partition())
    reader.close()
    return messages


def _watermarks(stage: Stage, topic: str) -> dict[int, tuple[int, int]]:
    client = Consumer(client_config(stage.kafka) | {"group.id": "test", **_QUIET})
    name = stage.kafka.topic(topic)
    found = {
        number: client.get_watermark_offsets(TopicPartition(name, number), timeout=10)
        for number in client.list_topics(name, timeout=10).topics[name].partitions
    }
    client.close()
    return found


def lag(stage: Stage) -> dict[str, int]:
    """Lag of the processors' group by partition, without those that have none."""
    config = {"group.id": stage.kafka.group("processor"), **_QUIET}
    group = Consumer(client_config(stage.kafka) | config)
    behind = {}
    try:
        for topic in _READ_TOPICS:
            name = stage.kafka.topic(topic.name)
            parts = [TopicPartition(name, number) for number in range(stage.partitions)]
            ends = _watermarks(stage, topic.name)
            for part in group.committed(parts, timeout=10):
                missing = ends[part.partition][1] - max(part.offset, 0)
                if missing:
                    behind[f"{topic.name}-{part.partition}"] = missing
    finally:
        group.close()
    return behind


class AtLeastOnce:
    """Guarantee 1: every published job has ended."""

    def check(self, load: Load, results: Results, stage: Stage) -> None:
        """AssertionError with the number of jobs that have not."""
        missing = load.jobs.keys() - results.events.keys()
        assert not missing, f"{len(missing)} of {len(load.jobs)} jobs are lost"


class OneOutcome:
    """Guarantee 2: all terminal events of a job have the same id and content."""

    def check(self, load: Load, results: Results, stage: Stage) -> None:
        """AssertionError with a job of two outcomes."""
        for job_id, events in results.events.items():
            assert len({event.event_id for event in events}) == 1, f"{job_id} has two outcomes"
            contents = {event.model_dump_json() for event in events}
            assert len(contents) == 1, f"{job_id} has two contents: {sorted(contents)}"


class StatesAgree:
    """The last state of each job on `jobs.state` is that of its terminal event."""

    def check(self, load: Load, results: Results, stage: Stage) -> None:
        """AssertionError with the difference."""
        states = read_states(stage)
        for key, values in states.items():
            if b"/" in key:
                assert values[-1] is None, f"{key!r}: an item's record outlived its batch"
                continue
            history = [cloudevents.decode_state(value) for value in values if value is not None]
            self._check_one(history, results.events[key.decode()])
        lost = results.events.keys() - {key.decode() for key in states}
        assert not lost, f"{len(lost)} jobs have a terminal event and no state"

    def _check_one(self, history: list[JobState], events: list[JobFinished]) -> None:
        last = history[-1]
        assert last.status.ended, f"{last.job_id}: the last state is {last.status}"
        assert last.status is events[0].status
        assert last.items == events[0].items
        ended = [state.status for state in history if state.status.ended]
        running_again = [
            s for s in history[history.index(_first_ended(history)) :] if not s.status.ended
        ]
        assert set(ended) == {last.status}, f"{last.job_id} ended as {ended}"
        assert not running_again, f"{last.job_id} went on after its end"


def _first_ended(history: list[JobState]) -> JobState:
    return next(state for state in history if state.status.ended)


class NoLag:
    """Guarantee 8: every message is committed, so no partition is stuck and no hole is open."""

    def __init__(self, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s

    def check(self, load: Load, results: Results, stage: Stage) -> None:
        """AssertionError with the lag by partition."""
        wait_until(
            lambda: self._behind(stage),
            lambda behind: not behind,
            self._timeout_s,
            what="lag by partition",
        )

    def _behind(self, stage: Stage) -> dict[str, int]:
        try:
            return lag(stage)
        except KafkaException as error:
            return {str(error): -1}


CHECKERS = (AtLeastOnce(), OneOutcome(), NoLag(), StatesAgree())
