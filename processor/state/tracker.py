"""The tracker: the single writer of a job's state and of its terminal event (guarantee 6)."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery, Publisher
from processor.state.job_table import JobTable, JobTables
from schemas import cloudevents
from schemas.events import CancelRequested, Fact, ItemFact, JobExpired, JobFinished
from schemas.jobs import Item, JobState
from schemas.reducer import apply, complete_items, with_items
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.truncation import truncated

log = logging.getLogger(__name__)

# Jobs whose published end this worker remembers.
_MAX_PUBLISHED_ENDS = 10_000
# Value of a fact. None of ours is larger, except a cancel request, which holds the whole job.
_MAX_FACT_BYTES = MAX_MESSAGE_BYTES // 2
# Value of a job's state. The terminal event holds the same in a few more bytes.
_MAX_STATE_BYTES = MAX_MESSAGE_BYTES * 3 // 4


@dataclass(slots=True)
class PendingState:
    """A running batch's state that is not published yet, and the facts that it waits with."""

    state: JobState
    partition: int
    timer: asyncio.TimerHandle
    facts: list[AdmittedMessage] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)


class Tracker:
    """Reduces facts to states in the table, and publishes every change before its fact is acked.

    The table's changelog is the public topic `jobs.state`, written here and not by Faust
    (guarantee 1, link 4). A batch's state is published at most once an interval, and the facts of
    that interval are acked together with it: a crash in between repeats them.
    """

    def __init__(self, tables: JobTables, publisher: Publisher, interval_s: float) -> None:
        """
        Args:
            interval_s: shortest time between two states of a running batch, seconds.
        """
        self._tables = tables
        self._publisher = publisher
        self._interval_s = interval_s
        self._pending: dict[str, PendingState] = {}
        # The last unfinished flush of each job; it waits for the one before.
        self._flushes: dict[str, asyncio.Task[None]] = {}
        # Jobs whose end this worker has published, oldest first.
        self._published_ends: OrderedDict[str, None] = OrderedDict()

    async def track(self, admitted: AdmittedMessage) -> None:
        """Apply an admitted fact; ack it when the change that it made is delivered."""
        await self._publisher.process(admitted, self._track(admitted))

    async def _track(self, admitted: AdmittedMessage) -> list[Delivery] | None:
        """Apply a fact; None while a batch's pending state keeps it."""
        try:
            return await self._apply(admitted)
        except ValueError as error:
            # Guarantee 5.
            return [await self._publisher.dead_letter(admitted, str(error))]

    async def _apply(self, admitted: AdmittedMessage) -> list[Delivery] | None:
        message = admitted.message
        fact = cloudevents.decode(message.headers, message.value)
        if not isinstance(fact, Fact):
            raise cloudevents.DecodeError(f"{fact.TYPE} is not a fact")
        if len(message.value) > _MAX_FACT_BYTES and not isinstance(fact, CancelRequested):
            raise cloudevents.DecodeError(f"{fact.TYPE}: {len(message.value)} bytes")
        table = self._tables.partition(admitted.tp.partition)
        before = table.state(fact.job_id)
        if isinstance(fact, JobExpired):
            return await self._delete_expired(admitted.tp.partition, table, fact, before)
        applied = apply(before, _known_item(table, before, fact), fact)
        state = applied.state
        if before is None and not applied.changed:
            return []  # a fact of a job that nothing is known of
        # A total of 0: not known yet.
        if state.total != 1 and not state.status.ended:
            await self._publish_batch(admitted, table, state, applied.item)
            return None
        if before is not None and before.status.ended:
            return await self._repeat_end(admitted.tp.partition, table, state)
        known = _known_items(table, before, state, applied.item)
        inputs = fact.job.inputs if isinstance(fact, CancelRequested) else ()
        whole = with_items(state, complete_items(state, known, inputs))
        return await self._publish_whole(admitted.tp.partition, table, whole)

    async def _repeat_end(self, partition: int, table: JobTable, state: JobState) -> list[Delivery]:
        """Publish a job's end again, once: a crash may have cut the first time short.

        Only once, because a batch may be large, and a crash repeats each of its facts since the
        last commit.
        """
        if state.job_id in self._published_ends:
            return []
        return await self._publish_whole(partition, table, state, repeated=True)

    async def _publish_whole(
        self, partition: int, table: JobTable, state: JobState, *, repeated: bool = False
    ) -> list[Delivery]:
        """Publish the state of a job of one, or of a job that has ended, with all its items."""
        key = state.job_id.encode()
        encoded = cloudevents.encode_state(state, self._publisher.source)
        if len(encoded.value) > _MAX_STATE_BYTES:
            state, encoded = self._truncated(state)
        table.put(key, encoded.value)
        pending = self._pending.get(state.job_id)
        if pending is not None:
            # A flush while the sends below wait must not publish an older state behind this one.
            pending.state = state
        if self._flushes:
            await self._flushed(state.job_id)
        deliveries = [await self._publisher.state(key, encoded, partition)]
        if state.status.ended:
            deliveries += await self._publish_result(table, state, partition, repeated)
        pending = self._pending.pop(state.job_id, None)
        if pending is not None:
            pending.timer.cancel()
            self._publisher.settle(pending.facts, [*pending.deliveries, *deliveries])
        return deliveries

    def _truncated(self, state: JobState) -> tuple[JobState, cloudevents.Encoded]:
        """Truncate a state to the fullest version that fits in a message."""
        for shorter in truncated(state):
            encoded = cloudevents.encode_state(shorter, self._publisher.source)
            if len(encoded.value) <= _MAX_STATE_BYTES:
                break
        return shorter, encoded

    async def _publish_result(
        self, table: JobTable, state: JobState, partition: int, repeated: bool
    ) -> list[Delivery]:
        """Publish the terminal event, and delete the items' records: the job's has them all now.

        The event goes with the state, and both are delivered before the fact is acked (guarantee
        1, link 5), so it is published at least once. Its id is made of job and outcome, so that a
        repeat is recognisable (guarantee 2).
        """
        deliveries = [await self._publisher.finished(JobFinished.of(state), partition)]
        for item in state.items if state.total > 1 else ():
            key = f"{state.job_id}/{item.index}".encode()
            if table.delete(key) or repeated:
                deliveries.append(await self._publisher.tombstone(key, partition))
        self._published_ends[state.job_id] = None
        while len(self._published_ends) > _MAX_PUBLISHED_ENDS:
            self._published_ends.popitem(last=False)
        return deliveries

    async def _delete_expired(
        self, partition: int, table: JobTable, fact: JobExpired, state: JobState | None
    ) -> list[Delivery]:
        """Delete a job that has ended; its tombstone informs every reader of `jobs.state`.

        Several processes may find a job expired. A job that is deleted already, or a newer one
        under the same id, stays: a second tombstone would take the newer one from readers.
        """
        if state is None or not state.status.ended or state.created_at >= fact.at:
            return []
        key = fact.job_id.encode()
        await self._flushed(fact.job_id)
        delivery = await self._publisher.tombstone(key, partition)
        # Before the table's record goes: without that, no repeat would send the tombstone again.
        await delivery
        self._published_ends.pop(fact.job_id, None)
        table.delete(key)
        return [delivery]

    async def _publish_batch(
        self, admitted: AdmittedMessage, table: JobTable, state: JobState, item: Item | None
    ) -> None:
        """Publish a running batch: its item now, its state at the end of the interval."""
        partition, deliveries = admitted.tp.partition, []
        if item is not None:
            # Before the state: its letter in the state counts the item as known.
            key = f"{state.job_id}/{item.index}".encode()
            encoded = cloudevents.encode_item(state.job_id, item, self._publisher.source)
            table.put(key, encoded.value)
            deliveries.append(await self._publisher.state(key, encoded, partition))
        record = cloudevents.encode_state(state, self._publisher.source)
        table.put(state.job_id.encode(), record.value)
        pending = self._pending.get(state.job_id)
        if pending is None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._interval_s, self._flush_soon, state.job_id)
            pending = self._pending[state.job_id] = PendingState(state, partition, timer)
        pending.state = state
        pending.facts.append(admitted)
        pending.deliveries += deliveries

    def flush_all(self) -> None:
        """Publish every pending state now; for partitions that are about to move."""
        for job_id in list(self._pending):
            self._flush_soon(job_id)

    def _flush_soon(self, job_id: str) -> None:
        pending = self._pending.pop(job_id)
        pending.timer.cancel()
        work = self._flush(pending, self._flushes.get(job_id))
        task = asyncio.ensure_future(self._publisher.finish(pending.facts, work))
        self._flushes[job_id] = task
        task.add_done_callback(lambda ended: self._flush_ended(job_id, ended))

    def _flush_ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._flushes.get(job_id) is task:
            del self._flushes[job_id]

    async def _flushed(self, job_id: str) -> None:
        """Wait until the job's flushes are in the producer's buffer, in their order.

        A send that waits for space in a full batch is overtaken by one that finds space in the next
        before the first wakes: an older state would be written last (guarantee 4).
        """
        flush = self._flushes.get(job_id)
        if flush is not None:
            await asyncio.wait((flush,))

    async def _flush(
        self, pending: PendingState, before: asyncio.Task[None] | None
    ) -> list[Delivery]:
        if before is not None:
            await asyncio.wait((before,))
        state = pending.state
        record = cloudevents.encode_state(state, self._publisher.source)
        sent = await self._publisher.state(state.job_id.encode(), record, pending.partition)
        return [*pending.deliveries, sent]


def _known_item(table: JobTable, state: JobState | None, fact: Fact) -> Item | None:
    """Look up the item that a fact is about: in the job's state, or in the table."""
    if not isinstance(fact, ItemFact) or state is None:
        return None
    if state.items:
        return state.items[fact.index] if fact.index < len(state.items) else None
    return table.item(fact.job_id, fact.index)


def _known_items(
    table: JobTable, before: JobState | None, state: JobState, item: Item | None
) -> dict[int, Item]:
    """Collect all items that events have come of; `item` replaces its older self."""
    known = {stored.index: stored for stored in before.items} if before is not None else {}
    if item is not None:
        known[item.index] = item
    if state.total == 1:
        return known
    for index in range(len(state.outcomes)):
        stored = table.item(state.job_id, index) if index not in known else None
        if stored is not None:
            known[index] = stored
    return known
