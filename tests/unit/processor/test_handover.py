"""Partitions that move: what is in the worker is dropped, or ended and committed."""

from __future__ import annotations

import asyncio

from faust.types import TP

from processor.handover import Handover
from processor.messages.admission import AdmittedMessage
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from schemas.events import ItemFinished, ItemQueued
from schemas.jobs import ItemInput, Priority
from schemas.times import from_epoch
from tests.support.edge import JOBS, TOPICS, settled
from tests.support.facts import accepted, item_fact, job
from tests.unit.processor.trackerbench import Bench

RETRY = TP("jobs.retry", 0)


class Worker(Bench):
    """A worker's queues and tracker, and the handover that empties them."""

    def __init__(self) -> None:
        super().__init__(interval_s=60)
        self.queue = PriorityQueue(32, self.client)
        self.retries = RetryQueue(self.publisher, self.client, 100)
        self.moves = Handover(self.admission, self.queue, self.retries, self.tracker, self.tables)
        for tp in (JOBS, RETRY):
            self.admission.start(tp, 0)

    def admit(self, offset: int, tp: TP = JOBS) -> AdmittedMessage:
        """Admit a message that must be the next."""
        admitted = self.admission.admit(self.client.message(offset, tp))
        assert admitted is not None
        return admitted


async def test_a_revoke_drops_what_has_not_started_and_waits_for_what_runs() -> None:
    worker = Worker()
    running = worker.admit(0)
    worker.admission.begin()
    worker.queue.put(Priority.LOW, worker.admit(1))
    again = ItemQueued(
        job_id="job",
        index=0,
        attempt=2,
        job=job(1).header(),
        input=ItemInput(),
        due_at=from_epoch(4e9),
    )
    message = worker.client.carrying(again, 0, RETRY)
    admitted = worker.admission.admit(message)
    assert admitted is not None
    await worker.retries.put(admitted)

    revoke = asyncio.ensure_future(worker.moves.revoke())
    await settled()
    assert not revoke.done(), "an item still runs"
    assert len(worker.queue) == 0
    assert worker.admission.admit(worker.client.message(2)) is None, "nothing new is admitted"

    worker.admission.done(running)
    worker.admission.end()
    await asyncio.wait_for(revoke, 1)
    assert worker.client.acked == [0], "the next owner reads the others again"
    worker.admission.start(JOBS, 1)
    worker.queue.put(Priority.LOW, worker.admit(1))
    assert len(worker.queue) == 1


async def test_what_was_published_before_a_revoke_is_not_recovered_again() -> None:
    worker = Worker()
    await worker.track(accepted(job(2)), item_fact(ItemFinished, job(2), 0))
    await asyncio.wait_for(worker.moves.revoke(), 1)
    assert [state.progress.processed for state in worker.states] == [1]
    assert worker.client.acked == [0, 1]
    assert set(worker.faust_table.persisted) == {TP(TOPICS.state, 0)}
