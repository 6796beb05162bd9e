"""The consumer: seeks every partition, drops no message, commits what admission says is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message

from processor.faust_fixes.speed import RecordBatch
from processor.faust_fixes.thread import HardenedConsumerThread

# Longest wait for the commit before a rebalance.
_COMMIT_ON_REVOKE_TIMEOUT_S = 10.0


class Offsets(Protocol):
    """The part that knows what is done: `app.admission`."""

    def start(self, tp: TP, offset: int, metadata: str) -> None:
        """Expect the partition's messages from `offset` on, the commit that has this metadata."""

    def due(self) -> Mapping[TP, int]:
        """Return the offsets that are to be committed."""

    def metadata(self, tp: TP) -> str:
        """Return the metadata of a partition's commit."""

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """Note offsets that were committed."""


class RevokeListener(Protocol):
    """The part that empties the worker: `app.revoke_listener`."""

    async def revoke(self) -> None:
        """Prepare for a rebalance: drop messages that have not started, wait for running ones."""


class HardenedConsumer(driver.Consumer):
    """Faust's consumer for at-least-once work that is done out of order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Counts seeks to the committed offsets; read by the consumer's thread.
        self.seek_epoch = 0
        self.sought_generation: int | None = None

    def _new_consumer_thread(self) -> HardenedConsumerThread:
        return HardenedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let running work end and commit it before Faust forgets the acks (guarantee 8).

        Stock: drops pending acks first (repeats, faust-streaming #502), waits for streams without
        a limit (endless rebalance), and never clears the buffered partitions (lets paused records
        through).

        Needed for: liveness.
        """
        await self.app.revoke_listener.revoke()
        if revoked:
            try:
                await asyncio.wait_for(self.commit(), _COMMIT_ON_REVOKE_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - the next owner repeats it
                self.log.warning("commit before a rebalance failed: %r", error)
        self._buffered_partitions.clear()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Seek every partition to its committed offset, or to its start.

        Stock (aiokafka #1003): seek_to_committed skips partitions whose commit is 0 or missing, so
        messages that were fetched from them and dropped in a rebalance are lost.

        Needed for: safety, because admission gets the first offset to expect from here.
        """
        generation = self.app.consumer_generation_id
        self.seek_epoch += 1
        await super().perform_seek()
        assigned = {ensure_TP(tp) for tp in self.assignment()}
        streams = {tp for tp in assigned if not self._is_changelog_tp(tp)}
        fresh = [tp for tp in streams if not self._committed_offset.get(tp)]
        earliest = await self._thread.earliest_offsets(*fresh) if fresh else {}
        first = {ensure_TP(tp): offset for tp, offset in earliest.items()}
        metadata = await self._thread.committed_metadata(streams)
        for tp in streams:
            offset = self._committed_offset.get(tp) or 0
            if tp in first:
                offset = max(offset, first[tp])
                await self._thread.seek_soon(tp, offset)
                self._read_offset[tp] = offset or None
            self.app.admission.start(tp, offset, metadata.get(tp, ""))
        self.sought_generation = generation

    def seek_back(self, tp: TP, offset: int) -> None:
        """Read the partition again from `offset`, after the fetch that is under way."""
        self._thread.seek_soon(tp, offset)
        self._read_offset[tp] = offset or None

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit up to the watermarks of admission; return whether there was anything to commit.

        Stock: commits by its own list of acked offsets, which takes offsets that it skipped for
        processed (faust-streaming #606), counts acks of older generations, never again commits a
        partition after a gap in its log (retention, markers; robinhood/faust #401), and takes a
        failed commit for done.

        Needed for: safety.
        """
        admission = self.app.admission
        offsets = dict(admission.due())
        self._thread.commit_metadata = {tp: admission.metadata(tp) for tp in offsets}
        if not offsets or not await self._commit_offsets(offsets, start_new_transaction):
            return False
        admission.committed(offsets)
        return True

    def read_position(self, tp: TP) -> int | None:
        """Return the offset to be read next, past markers; None if it is not known."""
        client = self._thread._consumer
        assigned = client._subscription.subscription.assignment if client is not None else None
        state = assigned.state_value(tp) if assigned is not None else None
        return state.position if state is not None and state.has_valid_position else None

    def is_paused(self, tp: TP) -> bool:
        """Return whether a full queue has paused the partition."""
        return tp in self._buffered_partitions

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, list[Message]]]:
        """Yield the fetched messages, all of one partition together.

        Stock: one message at a time, round robin over topics and partitions.
        """
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:  # noqa: BLE001 - the seek at the flow's resumption counts
                self.log.warning("seek while the flow is stopped: %r", error)
            return
        for tp, batch in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if active is None or tp in active or tp in self._buffered_partitions:
                yield tp, [self._to_message(tp, record) for record in batch]

    async def _drain_messages(self, fetcher: Any) -> None:
        """Pass fetched messages to the streams, those of a partition together: see `RecordBatch`.

        Stock: makes four tasks for each message (wait_first), and drops the message that it is
        passing when the flow stops. And it writes the message's offset as read after a wait across
        a rebalance, so the messages that the seek fetches again are skipped as read; here it is
        written only if the generation is still the message's.

        Needed for: liveness.
        """
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await asyncio.sleep(0)
                async for tp, messages in self.getmany(timeout=1.0):
                    await self._pass_on(tp, messages)
                    await asyncio.sleep(0)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise

    async def _pass_on(self, tp: TP, messages: list[Message]) -> None:
        read = self._read_offset[tp]
        fresh = [m for m in messages if read is None or m.offset >= read]
        # Recovery takes its messages singly.
        together = not self._is_changelog_tp(tp)
        for passed in [RecordBatch(fresh)] if together and fresh else fresh:
            if not self.flow_active:
                return
            await self.callback(passed)
            if passed.generation_id == self.app.consumer_generation_id:
                self._read_offset[tp] = fresh[-1].offset if together else passed.offset
