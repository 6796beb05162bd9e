"""Retries wait until they are due, then go back to their priority topic."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from processor.queues.retry_queue import RetryQueue
from schemas.events import ItemFailed, ItemQueued, JobAccepted
from schemas.jobs import ItemInput, Priority
from schemas.times import from_epoch
from tests.support.edge import Edge, settled
from tests.support.facts import accepted, job

RETRY = TP("jobs.retry", 2)


class Bench(Edge):
    """RetryQueue between a client and a producer."""

    def __init__(self, limit: int = 100) -> None:
        super().__init__()
        self.admission.start(RETRY, 0)
        self._offset = 0
        self.retries = RetryQueue(self.publisher, self.client, limit)

    async def put(self, event: Any, **fields: Any) -> None:
        """Put one message of the retry topic."""
        admitted = self.admission.admit(self.client.carrying(event, self._offset, RETRY, **fields))
        self._offset += 1
        assert admitted is not None
        await self.retries.put(admitted)

    async def run_for(self, seconds: float) -> None:
        """Run the queue for that long."""
        task = asyncio.ensure_future(self.retries.run())
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settled()


def _again(index: int, in_s: float | None, priority: Priority = Priority.LOW) -> ItemQueued:
    header = job(5).header().evolve(priority=priority)
    due_at = from_epoch(time.time() + in_s) if in_s is not None else None
    return ItemQueued(
        job_id="job", index=index, attempt=2, job=header, input=ItemInput(), due_at=due_at
    )


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_is_due_goes_back_to_its_priority_and_is_acked(bench: Bench) -> None:
    await bench.put(_again(0, None, Priority.HIGH), key=b"job/0")
    await bench.put(_again(1, -5), key=b"job/1")
    await bench.run_for(0.1)
    assert [(s.topic, s.key, s.partition) for s in bench.producer.sent] == [
        ("jobs.high", b"job/0", 2),
        ("jobs.low", b"job/1", 2),
    ]
    assert bench.producer.sent[0].event == _again(0, None, Priority.HIGH)
    assert bench.client.acked == [0, 1]


async def test_what_is_due_first_goes_first(bench: Bench) -> None:
    for index, in_s in ((0, 0.15), (1, 0.05), (2, 60)):
        await bench.put(_again(index, in_s))
    await bench.run_for(0.5)
    assert [sent.event.index for sent in bench.producer.sent] == [1, 0]
    assert bench.client.acked == [0, 1]


async def test_an_earlier_one_that_comes_later_does_not_wait_for_the_later_one(
    bench: Bench,
) -> None:
    await bench.put(_again(0, 60))
    task = asyncio.ensure_future(bench.retries.run())
    await settled()
    await bench.put(_again(1, 0.02))
    await asyncio.wait({task}, timeout=0.3)
    task.cancel()
    assert [sent.event.index for sent in bench.producer.sent] == [1]


async def test_a_partition_that_holds_many_is_paused() -> None:
    bench = Bench(limit=4)
    for index in range(4):
        await bench.put(_again(index, -1))
    assert bench.client.is_paused(RETRY)
    await bench.run_for(0.1)
    assert not bench.client.is_paused(RETRY)


async def test_after_a_revoke_nothing_is_held(bench: Bench) -> None:
    await bench.put(_again(0, -1))
    bench.retries.clear()
    await bench.run_for(0.05)
    assert (bench.producer.sent, bench.client.acked) == ([], [])


@pytest.mark.parametrize("due_at", ["soon", "2026-03-01T10:00:00"])
async def test_what_cannot_be_read_goes_to_the_dead_letters_and_ends(
    bench: Bench, due_at: str
) -> None:
    await bench.put(accepted(job(2)))
    await bench.put(_again(3, None).evolve(attempt=2, due_at=due_at))
    await settled()
    *letters, failed = bench.producer.sent
    assert [sent.topic for sent in letters] == ["jobs.dead-letter"] * 2
    assert bench.client.acked == [0, 1]
    assert isinstance(letters[0].event, JobAccepted)
    assert (failed.topic, failed.key, failed.partition) == ("jobs.events", b"job", None)
    fact = failed.event
    assert isinstance(fact, ItemFailed) and fact.unreadable
    assert (fact.index, fact.attempt, fact.error.code) == (3, 2, "internal")


@pytest.mark.parametrize("good", [True, False])
async def test_a_worker_that_cannot_send_restarts_and_acks_nothing(
    bench: Bench, good: bool
) -> None:
    bench.producer.refuse = KafkaTimeoutError()
    try:
        await bench.put(_again(0, -1), **({} if good else {"value": b"?"}))
        await bench.run_for(0.05)
    except KafkaTimeoutError:
        assert not good
    assert len(bench.crashes.reasons) == 1
    assert (bench.client.acked, bench.admission.running) == ([], 0)
