"""Logs with gaps, from transaction markers or retention; and members that leave a group."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer, TopicPartition

from imagemill.kafka.config import producer_config
from imagemill.kafka.topics import admin
from processor.faust_fixes.thread import HardenedConsumerThread
from schemas import cloudevents, topics
from schemas.events import JobSubmitted
from schemas.jobs import JobState, JobStatus, Priority
from tests.chaos.harness import ROOT, Load, NoLag, Results, Stage, Workers, lag, workers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest


@pytest.fixture
def stage(broker: Any, topic_prefix: str, tmp_path: Path) -> Stage:
    """Make topics for this test alone."""
    return Stage(broker.bootstrap, topic_prefix, tmp_path, partitions=2).create_topics()


@pytest.fixture
def running(stage: Stage, free_port: Callable[[], int]) -> Iterator[Workers]:
    """Make workers, none of them started."""
    with workers(stage, free_port) as made:
        yield made


class Transactions:
    """A producer that sends each message in a transaction, which leaves a marker behind it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        config = producer_config(stage.kafka) | {"transactional.id": uuid.uuid4().hex}
        self._producer = Producer(config)
        self._producer.init_transactions(30)

    def send(self, topic: str, key: str, encoded: cloudevents.Encoded, partition: int) -> None:
        """Send one message in one transaction."""
        self._producer.begin_transaction()
        name = self._stage.kafka.topic(topic)
        self._producer.produce(name, encoded.value, key, partition, headers=encoded.headers)
        self._producer.commit_transaction(30)


def test_markers_of_transactions_stop_neither_recovery_nor_partitions(
    stage: Stage, running: Workers
) -> None:
    transactions = Transactions(stage)
    for partition in range(stage.partitions):
        ended = JobState(job_id=f"old-{partition}", total=1, status=JobStatus.SUCCEEDED)
        message = cloudevents.encode_state(ended)
        transactions.send(topics.JOBS_STATE.name, ended.job_id, message, partition)
    running.start("w1")
    running.wait_ready()

    load, results = Load(stage), Results(stage)
    jobs = [JobSubmitted(job_id=uuid.uuid4().hex, operation="noop", total=1) for _ in range(6)]
    for number, job in enumerate(jobs):
        partition = number % stage.partitions
        transactions.send(topics.JOBS_NORMAL.name, job.job_id, cloudevents.encode(job), partition)
    results.wait_for([job.job_id for job in jobs], 60)
    later = [load.submit("noop") for _ in range(10)]
    load.flush()
    results.wait_for([job.job_id for job in later], 60)
    # The marker behind a partition's last message may be all that is not committed.
    wait_until(
        lambda: max(lag(stage).values(), default=0), lambda most: most <= 1, 30, what="largest lag"
    )
    assert not running.deaths


def test_messages_that_retention_removed_unread_are_passed_over(
    stage: Stage, running: Workers
) -> None:
    load, results = Load(stage), Results(stage)
    for _ in range(8):
        load.submit("noop", Priority.LOW)
    load.flush()
    running.start("w1")
    results.wait_for(load.jobs, 60, meanwhile=running.revive)
    NoLag().check(load, results, stage)
    running.stop("w1")

    removed = [load.submit("noop", Priority.LOW) for _ in range(20)]
    load.flush()
    low = stage.kafka.topic(topics.JOBS_LOW.name)
    ends = [TopicPartition(low, number, -1) for number in range(stage.partitions)]
    client = admin(stage.kafka)  # its end cancels the futures
    for future in client.delete_records(ends).values():
        future.result(30)
    kept = [load.submit("noop", Priority.LOW) for _ in range(20)]
    load.flush()
    running.start("w1")
    results.wait_for([job.job_id for job in kept], 60, meanwhile=running.revive)
    NoLag().check(load, results, stage)
    assert not any(job.job_id in results.events for job in removed)


@pytest.mark.parametrize("hardened", [False, True], ids=["stock", "hardened"])
async def test_a_static_member_that_stops_leaves_its_group(stage: Stage, hardened: bool) -> None:
    """Stock: it stays a member, and its partitions idle, until the session times out."""
    group = stage.kafka.group("members")
    client = AIOKafkaConsumer(
        stage.kafka.topic(topics.JOBS_LOW.name),
        bootstrap_servers=stage.bootstrap,
        group_id=group,
        group_instance_id="w1",
        session_timeout_ms=30_000,
    )
    await client.start()
    if hardened:
        transport = SimpleNamespace(leave_on_stop=True)
        thread = SimpleNamespace(transport=transport, _consumer=client)
        HardenedConsumerThread.give_up_membership(thread)  # type: ignore[arg-type]
    await client.stop()
    asking = admin(stage.kafka)  # its end cancels the future
    described = asking.describe_consumer_groups([group])[group].result(30)
    assert len(described.members) == (0 if hardened else 1)


def test_a_worker_that_starts_while_the_broker_is_away_says_so_and_ends(tmp_path: Path) -> None:
    """The supervisor restarts it; a worker that waited would look alive."""
    ended = subprocess.run(
        [sys.executable, "-m", "processor"],
        env=os.environ
        | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "IMAGEMILL_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "no Kafka broker answered at 127.0.0.1:1" in ended.stdout + ended.stderr
