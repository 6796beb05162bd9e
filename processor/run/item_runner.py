"""Takes admitted work from the gate, runs it, and sends the fact of what came out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.dead_letter import dead_letter, refuse
from processor.messages.publisher import Delivery, Publisher, Topics
from processor.queues.cancelled_jobs import CancelledJobs
from processor.queues.priority_queue import PriorityQueue
from processor.run.inline import InlineOperations
from processor.run.item import ItemOutcome, ItemTask
from processor.run.retry import RetryPolicy
from schemas import cloudevents
from schemas.errors import ErrorCode, JobError
from schemas.events import (
    ItemFailed,
    ItemFinished,
    ItemQueued,
    ItemRetrying,
    ItemStarted,
    JobAccepted,
    JobSubmitted,
)
from schemas.jobs import ItemInput, Job, item_key
from schemas.times import elapsed_ms, from_epoch, now
from schemas.topics import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

# A batch's state holds all its items' results in one message. What a fact repeats of the job, and
# of the item's input, may take as much.
_MAX_FACT_BYTES = MAX_MESSAGE_BYTES // 4

_NO_INPUT = ItemInput()


class Pool(Protocol):
    """Where an item runs: in a process of its own that may crash, hang or outgrow its limit."""

    async def run(self, task: ItemTask) -> ItemOutcome: ...


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt of one item."""

    job: Job
    index: int
    attempt: int
    input: ItemInput

    @property
    def key(self) -> bytes:
        """The item's message key."""
        return item_key(self.job.job_id, self.index, self.job.total).encode()


class ItemRunner:
    """HostLimits that turn queued items into facts; as many as the pool has use for."""

    def __init__(
        self,
        *,
        gate: PriorityQueue,
        admission: Admission,
        publisher: Publisher,
        pool: Pool,
        inline: InlineOperations,
        topics: Topics,
        retry: RetryPolicy,
        cancelled: CancelledJobs,
        started_after_s: float,
        worker_id: str,
        source: str,
        crash: Callable[[BaseException], Any],
    ) -> None:
        self._gate = gate
        self._admission = admission
        self._outbox = publisher
        self._pool = pool
        self._inline = inline
        self._topics = topics
        self._retry = retry
        self._cancelled = cancelled
        self._started_after_s = started_after_s
        self._worker_id = worker_id
        self._crash = crash
        self._source = source
        self.busy = 0
        # The keys of what is done just now: the track agent hears of short work when it has ended.
        self._running: set[bytes | None] = set()

    async def run_slot(self) -> None:
        """Serve the gate for ever: one item at a time."""
        while True:
            entry = await self._gate.take()
            if self._admission.is_current(entry):
                await self.serve(entry)

    async def serve(self, entry: AdmittedMessage) -> None:
        """Do an entry's work and ack it when its facts are delivered."""
        self._admission.begin()
        self.busy += 1
        try:
            deliveries = await self._deliveries(entry)
        except BaseException as error:
            # A failing send: without it the outcome is not in the log, so the worker restarts and
            # reads the entry again. Not for what would fail again.
            self._admission.end()
            await self._crash(error)
            raise
        finally:
            self.busy -= 1
        self._outbox.ack_when_delivered([entry], deliveries)

    async def _deliveries(self, entry: AdmittedMessage) -> list[Delivery]:
        key = entry.message.key
        try:
            event = _work_in(entry.message)
        except cloudevents.DecodeError as error:
            if key in self._running:
                # It names what runs here, and comes to its end by that.
                topic = self._topics.dead_letter
                return [await dead_letter(self._outbox, topic, entry, str(error))]
            return await self._refuse(entry, str(error))
        self._running.add(key)
        try:
            return await self._work(event, entry)
        except ValueError as error:
            log.exception("%s-%d@%d", *entry.tp, entry.message.offset)
            reason = f"what comes of it cannot be told: {error}"
            return await self._refuse(entry, reason, tried=True)
        finally:
            self._running.discard(key)

    async def _refuse(
        self, entry: AdmittedMessage, reason: str, *, tried: bool = False
    ) -> list[Delivery]:
        return await refuse(self._outbox, self._topics, self._source, entry, reason, tried=tried)

    async def _work(
        self, event: JobSubmitted | ItemQueued, entry: AdmittedMessage
    ) -> list[Delivery]:
        if isinstance(event, ItemQueued):
            if self._cancelled.covers(event.job_id, event.job.created_at):
                return []
            return await self._attempt(
                Work(event.job, event.index, event.attempt, event.input), entry
            )
        if self._cancelled.covers(event.job_id, event.created_at):
            return []
        if event.total > 1:
            return await self._fan_out(event, entry)
        source = event.inputs[0] if event.inputs else _NO_INPUT
        return await self._attempt(Work(event.header(), 0, 1, source), entry)

    async def _fan_out(self, job: JobSubmitted, entry: AdmittedMessage) -> list[Delivery]:
        """One message an item on the same priority topic, after the job's header is in the log."""
        header = job.header()
        accepted = JobAccepted.trusted(job_id=job.job_id, at=now(), job=header)
        await (await self._fact(accepted, entry))
        topic = entry.tp.topic
        sends = []
        for index, source in enumerate(job.inputs):
            item = ItemQueued.trusted(
                job_id=job.job_id, index=index, attempt=1, job=header, input=source, due_at=None
            )
            key = item_key(job.job_id, index, job.total).encode()
            message = cloudevents.encode(item, self._source)
            sends.append(await self._outbox.send(topic, key, message, None))
        return sends

    async def _attempt(self, work: Work, entry: AdmittedMessage) -> list[Delivery]:
        started = time.time()
        inline = self._inline.find(work.job)
        if inline is not None:
            return [await self._conclude(work, entry, started, inline(work.job))]
        run = asyncio.ensure_future(self._pool.run(self._task(work)))
        deliveries = []
        done, _ = await asyncio.wait({run}, timeout=self._started_after_s)
        if not done:
            fact = ItemStarted.trusted(
                **self._fact_fields(work), at=from_epoch(started), worker=self._worker_id
            )
            deliveries.append(await self._fact(fact, entry, work))
        try:
            outcome = await run
        except Exception as error:
            log.exception("item %s of job %s", work.index, work.job.job_id)
            message = f"The processor failed unexpectedly ({type(error).__name__})."
            outcome = ItemOutcome(error=JobError.of(ErrorCode.INTERNAL, message))
        return [*deliveries, *await self._outcome(work, entry, started, outcome)]

    def _task(self, work: Work) -> ItemTask:
        return ItemTask(
            job_id=work.job.job_id,
            index=work.index,
            steps=tuple((step.operation, step.params) for step in work.job.steps),
            key=work.input.key,
            url=work.input.url,
            filename=work.input.filename,
        )

    async def _outcome(
        self, work: Work, entry: AdmittedMessage, started: float, outcome: ItemOutcome
    ) -> list[Delivery]:
        """The facts of an outcome: the end, or the next attempt."""
        if outcome.error is not None and not outcome.permanent:
            delay_s = self._retry.delay_s(work.attempt, outcome.error)
            if delay_s is not None:
                return await self._try_again(work, entry, outcome.error, time.time() + delay_s)
        return [await self._conclude(work, entry, started, outcome)]

    async def _conclude(
        self, work: Work, entry: AdmittedMessage, started: float, outcome: ItemOutcome
    ) -> Delivery:
        """Send the fact that the item has ended."""
        started_at = from_epoch(started)
        fields = self._fact_fields(work) | {
            "at": now(),
            "started_at": started_at,
            "timings_ms": {
                "queued": elapsed_ms(work.job.created_at, started_at),
                **outcome.timings_ms,
            },
        }
        return await self._send(self._end(fields, outcome), work.job.job_id, entry, work)

    def _end(self, fields: dict[str, Any], outcome: ItemOutcome) -> cloudevents.Encoded:
        """The fact that an item has ended; a result that no message can hold is a failure."""
        error = outcome.error
        if error is None:
            fact = ItemFinished.trusted(**fields, result=outcome.result, model=outcome.model)
            try:
                encoded = cloudevents.encode(fact, self._source)
            except ValueError as exc:
                error = JobError.of(ErrorCode.INTERNAL, f"The result is not JSON: {exc}")
            else:
                size = len(encoded.value)
                if size > _MAX_FACT_BYTES:
                    problem = f"takes {size} bytes, more than the {_MAX_FACT_BYTES} of a message"
                elif outcome.result and not cloudevents.can_be_nested(encoded.value):
                    problem = "is nested too deep for a message"
                else:
                    return encoded
                error = JobError.of(ErrorCode.INTERNAL, f"The result's data {problem}.")
        return cloudevents.encode(ItemFailed.trusted(**fields, error=error), self._source)

    async def _try_again(
        self, work: Work, entry: AdmittedMessage, error: JobError, due: float
    ) -> list[Delivery]:
        due_at = from_epoch(due)
        log.info("job %s item %d again at %s: %s", work.job.job_id, work.index, due_at, error.code)
        again = ItemQueued.trusted(
            job_id=work.job.job_id,
            index=work.index,
            attempt=work.attempt + 1,
            job=work.job,
            input=work.input,
            due_at=due_at,
        )
        fact = ItemRetrying.trusted(**self._fact_fields(work), at=now(), error=error, due_at=due_at)
        # In the log first, as a batch's header before its items: by it is known what an attempt
        # belongs to that cannot be read.
        await (await self._fact(fact, entry, work))
        return [
            await self._outbox.send(
                self._topics.retry,
                work.key,
                cloudevents.encode(again, self._source),
                entry.tp.partition,
            )
        ]

    def _fact_fields(self, work: Work) -> dict[str, Any]:
        """A fact of a job of one carries the job's header: the track agent needs no other."""
        return {
            "job_id": work.job.job_id,
            "job": work.job if work.job.total == 1 else None,
            "index": work.index,
            "attempt": work.attempt,
            "filename": work.input.filename,
        }

    async def _fact(self, fact: Any, entry: AdmittedMessage, work: Work | None = None) -> Delivery:
        """Send a fact to the partition of its job.

        A job of one has the same key, so the same partition, on both topics; items of a batch
        have keys of their own, and the producer's partitioner finds the job's.
        """
        return await self._send(cloudevents.encode(fact, self._source), fact.job_id, entry, work)

    async def _send(
        self, fact: cloudevents.Encoded, job_id: str, entry: AdmittedMessage, work: Work | None
    ) -> Delivery:
        same = work is None or work.job.total == 1
        return await self._outbox.send(
            self._topics.events, job_id.encode(), fact, entry.tp.partition if same else None
        )


def _work_in(message: Any) -> JobSubmitted | ItemQueued:
    """The work that a message asks for; DecodeError if it is none, or cannot be told on."""
    event = cloudevents.decode(message.headers, message.value)
    if not isinstance(event, JobSubmitted | ItemQueued):
        raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
    if len(message.value) > _MAX_FACT_BYTES and _repeated_bytes(event) > _MAX_FACT_BYTES:
        reason = f"params, metadata and an input take more than {_MAX_FACT_BYTES} bytes"
        raise cloudevents.DecodeError(reason)
    if isinstance(event, JobSubmitted) and event.total != max(1, len(event.inputs)):
        raise cloudevents.DecodeError(f"{event.total} items announced, {len(event.inputs)} inputs")
    return event


def _repeated_bytes(event: JobSubmitted | ItemQueued) -> int:
    """What messages about an item repeat of the event that it came in."""
    if isinstance(event, ItemQueued):
        job, inputs = event.job, (event.input,)
    else:
        job, inputs = event.header(), event.inputs
    largest = max((len(source.model_dump_json()) for source in inputs), default=0)
    return len(job.model_dump_json()) + largest
