"""The track agent: the single writer of a job's state, and of its one terminal event."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.dead_letter import dead_letter
from processor.messages.publisher import Delivery, Publisher, Topics
from processor.state.job_table import JobTable
from schemas import cloudevents
from schemas.events import CancelRequested, Fact, ItemFact, JobExpired, JobFinished
from schemas.jobs import Item, JobState
from schemas.reducer import apply, complete_items, with_items
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.truncation import truncated

log = logging.getLogger(__name__)

_TOLD_LIMIT = 10_000
# None of ours is larger but a cancel request, which holds the whole job.
_MAX_FACT_BYTES = MAX_MESSAGE_BYTES // 2
# The terminal event says the same in a few more bytes.
_MAX_STATE_BYTES = MAX_MESSAGE_BYTES * 3 // 4


@dataclass(slots=True)
class _Window:
    """A running batch's changes since its state was last published."""

    state: JobState
    partition: int
    timer: asyncio.TimerHandle
    entries: list[AdmittedMessage] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)


class Tracker:
    """Folds facts into the table, and publishes what changed before the facts are acked.

    The table's changelog is the public topic `jobs.state`. A batch's state is published at most
    once an interval, and the facts of that interval are acked together with it: a crash in
    between repeats them.
    """

    def __init__(
        self,
        *,
        table: Callable[[int], JobTable],
        admission: Admission,
        publisher: Publisher,
        topics: Topics,
        interval_s: float,
        source: str,
        crash: Callable[[BaseException], Any],
    ) -> None:
        self._table = table
        self._admission = admission
        self._outbox = publisher
        self._topics = topics
        self._interval_s = interval_s
        self._source = source
        self._crash = crash
        self._windows: dict[str, _Window] = {}
        # Of each job the last flush that has not ended; it waits for the one before.
        self._flushes: dict[str, asyncio.Task[None]] = {}
        # Jobs whose end this worker has published; the oldest are forgotten.
        self._told: OrderedDict[str, None] = OrderedDict()

    async def track(self, entry: AdmittedMessage) -> None:
        """Fold an admitted fact; ack it when what it changed is delivered."""
        self._admission.begin()
        try:
            try:
                await self._track(entry)
            except ValueError as error:
                sent = await dead_letter(self._outbox, self._topics.dead_letter, entry, str(error))
                self._outbox.ack_when_delivered([entry], [sent])
        except BaseException as error:
            # A failing send, or a failing disk under the table: restart and read it again.
            self._admission.end()
            await self._crash(error)
            raise

    async def _track(self, entry: AdmittedMessage) -> None:
        message = entry.message
        fact = cloudevents.decode(message.headers, message.value)
        if not isinstance(fact, Fact):
            raise cloudevents.DecodeError(f"{fact.TYPE} is not a fact")
        if len(message.value) > _MAX_FACT_BYTES and not isinstance(fact, CancelRequested):
            raise cloudevents.DecodeError(f"{fact.TYPE}: {len(message.value)} bytes")
        table = self._table(entry.tp.partition)
        state = table.state(fact.job_id)
        if isinstance(fact, JobExpired):
            await self._forget(entry, table, fact, state)
            return
        applied = apply(state, _known_item(table, state, fact), fact)
        if state is None and not applied.changed:
            # Of no job.
            self._outbox.ack_when_delivered([entry], [])
            return
        if applied.state.total == 1 or applied.state.status.ended:
            await self._publish_whole(entry, table, fact, state, applied.state, applied.item)
        else:
            await self._publish_batch(entry, table, applied.state, applied.item)

    async def _publish_whole(
        self,
        entry: AdmittedMessage,
        table: JobTable,
        fact: Fact,
        before: JobState | None,
        state: JobState,
        item: Item | None,
    ) -> None:
        """A job of one, or a job that has ended: its state with all items, and its end."""
        repeated = before is not None and before.status.ended
        if repeated and state.job_id in self._told:
            self._outbox.ack_when_delivered([entry], [])
            return
        if not repeated:
            known = _known_items(table, before, state, item)
            inputs = fact.job.inputs if isinstance(fact, CancelRequested) else ()
            state = with_items(state, complete_items(state, known, inputs))
        key, partition = state.job_id.encode(), entry.tp.partition
        encoded = cloudevents.encode_state(state, self._source)
        if len(encoded.value) > _MAX_STATE_BYTES:
            state, encoded = self._truncated(state)
        table.put(key, encoded.value)
        window = self._windows.get(state.job_id)
        if window is not None:
            window.state = state  # what is flushed while the end waits for its send
        if self._flushes:
            await self._flushed(state.job_id)
        deliveries = [await self._outbox.send(self._topics.changelog, key, encoded, partition)]
        if state.status.ended:
            deliveries += await self._tell_end(table, state, partition, repeated)
        entries = [entry]
        window = self._windows.pop(state.job_id, None)
        if window is not None:
            window.timer.cancel()
            entries = [*window.entries, entry]
            deliveries += window.deliveries
        self._outbox.ack_when_delivered(entries, deliveries)

    def _truncated(self, state: JobState) -> tuple[JobState, cloudevents.Encoded]:
        """The fullest version of it that fits in a message."""
        for shorter in truncated(state):
            encoded = cloudevents.encode_state(shorter, self._source)
            if len(encoded.value) <= _MAX_STATE_BYTES:
                break
        return shorter, encoded

    async def _tell_end(
        self, table: JobTable, state: JobState, partition: int, repeated: bool
    ) -> list[Delivery]:
        """The terminal event; and the items' records go, the job's holds them all now.

        What a crash may have cut short is done again, but once: a batch may be large, and each of
        its facts since the last commit is repeated.
        """
        key = state.job_id.encode()
        finished = cloudevents.encode(JobFinished.of(state), self._source)
        deliveries = [await self._outbox.send(self._topics.results, key, finished, partition)]
        for item in state.items if state.total > 1 else ():
            key = f"{state.job_id}/{item.index}".encode()
            if table.delete(key) or repeated:
                deliveries.append(
                    await self._outbox.tombstone(self._topics.changelog, key, partition)
                )
        self._told[state.job_id] = None
        while len(self._told) > _TOLD_LIMIT:
            self._told.popitem(last=False)
        return deliveries

    async def _forget(
        self, entry: AdmittedMessage, table: JobTable, fact: JobExpired, state: JobState | None
    ) -> None:
        """Delete a job that has ended. Its tombstone tells every reader of `jobs.state`.

        Several processes may find a job expired. What was deleted before, or is a newer job under
        the same id, stays as it is: a second tombstone would take the newer job from readers.
        """
        deliveries = []
        if state is not None and state.status.ended and state.created_at < fact.at:
            key = fact.job_id.encode()
            await self._flushed(fact.job_id)
            sent = await self._outbox.tombstone(self._topics.changelog, key, entry.tp.partition)
            # Only then the table's record: once that is gone, the tombstone is in the log.
            await sent
            self._told.pop(fact.job_id, None)
            table.delete(key)
            deliveries.append(sent)
        self._outbox.ack_when_delivered([entry], deliveries)

    async def _publish_batch(
        self, entry: AdmittedMessage, table: JobTable, state: JobState, item: Item | None
    ) -> None:
        """A running batch: its item now, its state at the end of the interval."""
        partition = entry.tp.partition
        deliveries = []
        if item is not None:
            # Before the state: the letter in the state is what counts the item.
            key = f"{state.job_id}/{item.index}".encode()
            encoded = cloudevents.encode_item(state.job_id, item, self._source)
            table.put(key, encoded.value)
            deliveries.append(
                await self._outbox.send(self._topics.changelog, key, encoded, partition)
            )
        table.put(state.job_id.encode(), cloudevents.encode_state(state, self._source).value)
        window = self._windows.get(state.job_id)
        if window is None:
            timer = asyncio.get_running_loop().call_later(
                self._interval_s, self._flush_soon, state.job_id
            )
            window = self._windows[state.job_id] = _Window(state, partition, timer)
        window.state = state
        window.entries.append(entry)
        window.deliveries += deliveries

    def flush_all(self) -> None:
        """Publish every running batch now; called when partitions are about to move."""
        for job_id in list(self._windows):
            self._flush_soon(job_id)

    def _flush_soon(self, job_id: str) -> None:
        window = self._windows.pop(job_id)
        window.timer.cancel()
        task = asyncio.ensure_future(self._flush(window, self._flushes.get(job_id)))
        self._flushes[job_id] = task
        task.add_done_callback(lambda done: self._flush_ended(job_id, done))

    def _flush_ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._flushes.get(job_id) is task:
            del self._flushes[job_id]

    async def _flushed(self, job_id: str) -> None:
        """Wait until what was to be published of the job is in the producer's order.

        A send that waits for room is overtaken by one that finds some before the first wakes.
        """
        flush = self._flushes.get(job_id)
        if flush is not None:
            await asyncio.wait((flush,))

    async def _flush(self, window: _Window, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait((before,))
            state = window.state
            sent = await self._outbox.send(
                self._topics.changelog,
                state.job_id.encode(),
                cloudevents.encode_state(state, self._source),
                window.partition,
            )
        except Exception as error:
            for _ in window.entries:
                self._admission.end()
            await self._crash(error)
            raise
        self._outbox.ack_when_delivered(window.entries, [*window.deliveries, sent])


def _known_item(table: JobTable, state: JobState | None, fact: Fact) -> Item | None:
    """What is known of the item that a fact concerns."""
    if not isinstance(fact, ItemFact) or state is None:
        return None
    if state.items:
        return state.items[fact.index] if fact.index < len(state.items) else None
    return table.item(fact.job_id, fact.index)


def _known_items(
    table: JobTable, before: JobState | None, state: JobState, item: Item | None
) -> dict[int, Item]:
    """All items that anything is known of; the one in hand counts before what is stored."""
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
