"""The item's way: decode, check, run, outcome to events, publish; five steps, in this order."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery, Publisher
from processor.queues.cancelled_jobs import CancelledJobs
from processor.queues.priority_queue import PriorityQueue
from processor.run.attempt import (
    Attempt,
    accepted_event,
    attempt_of,
    decode,
    events_of,
    items_of,
)
from processor.run.inline import InlineOperations
from processor.run.item import ItemOutcome, ItemTask
from processor.run.retry import RetryPolicy
from schemas.cloudevents import DecodeError
from schemas.errors import ErrorCode, JobError
from schemas.events import ItemQueued, JobSubmitted

log = logging.getLogger(__name__)

# Seconds between two looks whether the tracker has caught up; and starts between two looks whether
# it is behind, since a look takes a hundredth of an inline item's time.
_CATCH_UP_S = 0.001
_STARTS_PER_LOOK = 4


class Pool(Protocol):
    """Runs an item in a process of its own, which may crash, hang or outgrow its limit."""

    async def run(self, task: ItemTask) -> ItemOutcome: ...


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """The worker's rules for attempts."""

    worker_id: str
    retry: RetryPolicy
    started_after_s: float
    """An attempt still running after this many seconds is reported as started."""


class ItemRunner:
    """Runs queued items, one in each slot, and publishes their events."""

    def __init__(
        self,
        queue: PriorityQueue,
        publisher: Publisher,
        pool: Pool,
        cancelled: CancelledJobs,
        policy: RunPolicy,
    ) -> None:
        self._queue = queue
        self._publisher = publisher
        self._pool = pool
        self._inline = InlineOperations()
        self._cancelled = cancelled
        self._policy = policy
        self.busy = 0
        # Keys of the messages that run now. Short items send no ItemStarted, so the tracker cannot
        # say that they run.
        self._running: set[bytes | None] = set()

    async def run_slot(self) -> None:
        """Run queued items for ever, one at a time; the tracker's facts go first."""
        for number in itertools.count():
            if number % _STARTS_PER_LOOK == 0:
                await self._let_tracker_catch_up()
            await self.run(await self._queue.take())

    async def _let_tracker_catch_up(self) -> None:
        backlog = self._publisher.fact_backlog
        while backlog.is_long:  # noqa: ASYNC110 - no event says so: facts are read in batches
            await asyncio.sleep(_CATCH_UP_S)

    async def run(self, admitted: AdmittedMessage) -> None:
        """Run a message's item; ack the message when the item's events are delivered.

        The slot is free for the next item before that (guarantee 1, link 3).
        """
        self.busy += 1
        try:
            await self._publisher.process(admitted, self._run(admitted))
        finally:
            self.busy -= 1

    async def _run(self, admitted: AdmittedMessage) -> list[Delivery]:
        """Go all five steps; the deliveries are those of the events."""
        key = admitted.message.key

        # 1. Decode. Guarantee 5: an undecodable message fails its item, unless that runs here.
        try:
            event = decode(admitted.message)
        except DecodeError as error:
            if key in self._running:
                return [await self._publisher.dead_letter(admitted, str(error))]
            return await self._publisher.reject(admitted, str(error))

        # 2. Check. The tracker has ended a cancelled job, or will: nothing needs to be published.
        job = event.job if isinstance(event, ItemQueued) else event
        if self._cancelled.covers(job.job_id, job.created_at):
            return []

        self._running.add(key)
        try:
            if isinstance(event, JobSubmitted) and event.total > 1:
                return await self._fan_out(event, admitted)

            # 3. Run.
            attempt = attempt_of(event, started=time.time())
            deliveries: list[Delivery] = []
            outcome = self._inline.run(attempt.job)
            if outcome is None:
                outcome = await self._run_in_pool(attempt, admitted, deliveries)

            # 4. Outcome to events.
            retry, source = self._policy.retry, self._publisher.source
            fact, again = events_of(attempt, outcome, time.time(), retry, source)

            # 5. Publish. Guarantee 3: the result is stored by now, before any event names it.
            partition = _partition_of_job(attempt, admitted)
            delivery = await self._publisher.encoded_event(job.job_id, fact, partition)
            deliveries.append(delivery)
            if again is not None:
                await delivery  # first, so that an undecodable attempt has a known item to fail
                log.info("job %s item %d again at %s", job.job_id, attempt.index, again.due_at)
                deliveries.append(await self._publisher.retry(again, admitted.tp.partition))
            return deliveries
        except ValueError as error:
            # Guarantee 5 holds for events that cannot be encoded too.
            log.exception("%s-%d@%d", *admitted.tp, admitted.message.offset)
            reason = f"its events cannot be encoded: {error}"
            return await self._publisher.reject(admitted, reason, tried=True)
        finally:
            self._running.discard(key)

    async def _fan_out(self, job: JobSubmitted, admitted: AdmittedMessage) -> list[Delivery]:
        """Queue each item of a batch on the topic of the job, after the job's header is in the log.

        Its items then never reach the tracker before it (guarantee 4).
        """
        await (await self._publisher.event(accepted_event(job), admitted.tp.partition))
        return [await self._publisher.item(item, admitted.tp.topic) for item in items_of(job)]

    async def _run_in_pool(
        self, attempt: Attempt, admitted: AdmittedMessage, deliveries: list[Delivery]
    ) -> ItemOutcome:
        """Run an item in a process; add the delivery of its ItemStarted if it takes long."""
        run = asyncio.ensure_future(self._pool.run(attempt.task()))
        done, _ = await asyncio.wait({run}, timeout=self._policy.started_after_s)
        if not done:
            started = attempt.started_event(self._policy.worker_id)
            partition = _partition_of_job(attempt, admitted)
            deliveries.append(await self._publisher.event(started, partition))
        try:
            return await run
        except Exception as error:
            log.exception("item %s of job %s", attempt.index, attempt.job.job_id)
            message = f"The processor failed unexpectedly ({type(error).__name__})."
            return ItemOutcome(error=JobError.of(ErrorCode.INTERNAL, message))


def _partition_of_job(attempt: Attempt, admitted: AdmittedMessage) -> int | None:
    """Partition of the job on `jobs.events`; None if only the producer's hash can find it.

    A job of one has the message's key, so the message's partition. Items of a batch have keys of
    their own, and their events go to the partition of the job (guarantee 4).
    """
    return admitted.tp.partition if attempt.single else None
