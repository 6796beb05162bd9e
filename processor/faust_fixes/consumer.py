"""The consumer: seeks every partition, drops no message, counts no message it has not seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message

from imagemill.kafka.load import LoadMeter
from processor.faust_fixes.producer import HardenedProducer
from processor.faust_fixes.thread import HardenedConsumerThread

COMMIT_ON_REVOKE_TIMEOUT_S = 10.0


class RevokeListener(Protocol):
    """What the consumer tells the admission of."""

    async def revoke(self) -> None:
        """Partitions are about to move: drop what has not started, wait for what runs."""

    def start(self, tp: TP, offset: int) -> None:
        """The partition is read from this offset on."""


class RecordBatch(Message):
    """Messages of one partition on their way to its agent as one: its value is their list.

    What Faust does for each thing that it hands on (handler, event, queue, stream, a round of the
    loop) took a third of the CPU of a job that does nothing. Never acked; its messages are. The
    queues count it as one: see stream_buffer_maxsize.
    """

    def __init__(self, messages: list[Message]) -> None:
        first = messages[0]
        super().__init__(
            *first.tp,
            offset=first.offset,
            timestamp=first.timestamp,
            timestamp_type=first.timestamp_type,
            headers=None,
            key=None,
            value=messages,
            checksum=None,
            tp=first.tp,
            generation_id=first.generation_id,
        )


class HardenedConsumer(driver.Consumer):
    """Faust's consumer for at-least-once work that is acked out of order."""

    # app.revoke_listener: RevokeListener, set by whoever makes the app
    # Counts seeks to the committed offsets; read by the consumer's thread.
    seek_epoch = 0
    sought_generation: int | None = None
    gaps = 0
    stale_acks = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._passed_over: dict[TP, int] = {}

    def _new_consumer_thread(self) -> HardenedConsumerThread:
        return HardenedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let running work end and commit it before Faust forgets the acks.

        Stock: drops pending acks first (repeats), waits for streams without a limit (endless
        rebalance), and never clears the buffered partitions (lets paused records through).
        """
        await self.app.revoke_listener.revoke()
        if revoked:
            try:
                await asyncio.wait_for(self.commit(), COMMIT_ON_REVOKE_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - what is not committed is done again
                self.log.warning("commit before a rebalance failed: %r", error)
        self._buffered_partitions.clear()
        self._passed_over.clear()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Seek every partition to its committed offset, or to its start.

        Stock: aiokafka's seek_to_committed skips partitions whose commit is 0 or missing, so what
        was fetched from them and dropped in a rebalance is lost.
        """
        generation = self.app.consumer_generation_id
        self.seek_epoch += 1
        await super().perform_seek()
        assigned = {ensure_TP(tp) for tp in self.assignment()}
        streams = {tp for tp in assigned if not self._is_changelog_tp(tp)}
        fresh = [tp for tp in streams if not self._committed_offset.get(tp)]
        earliest = await self._thread.earliest_offsets(*fresh) if fresh else {}
        first = {ensure_TP(tp): offset for tp, offset in earliest.items()}
        for tp in streams:
            offset = self._committed_offset.get(tp) or 0
            if tp in first:
                offset = max(offset, first[tp])
                await self._thread.seek_soon(tp, offset)
                self._read_offset[tp] = offset or None
            self.app.revoke_listener.start(tp, offset)
        self.sought_generation = generation

    def seek_back(self, tp: TP, offset: int) -> None:
        """Read a partition again from an offset, in a moment."""
        self._thread.seek_soon(tp, offset)
        self._read_offset[tp] = offset or None

    def pass_over(self, tp: TP, offset: int) -> None:
        """The log has nothing between what was last committed and `offset`: commit across it."""
        self._passed_over[tp] = offset

    def _new_offset(self, tp: TP) -> int | None:
        """What may be committed.

        Stock: a distance between the committed offset and the first acked one is taken for
        messages not yet acked, also when the log does not have any there (retention, transaction
        markers): the partition is never committed again.
        """
        first = self._passed_over.get(tp)
        # Acks come in order: with the first behind the gap, all before the gap are committed.
        if first is not None and self._acked[tp] and min(self._acked[tp]) == first:
            self._committed_offset[tp] = first
            del self._passed_over[tp]
        return super()._new_offset(tp)

    def read_position(self, tp: TP) -> int | None:
        """The offset that is read next, past what holds no records; None if not known."""
        client = self._thread._consumer
        assigned = client._subscription.subscription.assignment if client is not None else None
        state = assigned.state_value(tp) if assigned is not None else None
        return state.position if state is not None and state.has_valid_position else None

    def is_paused(self, tp: TP) -> bool:
        """Whether a full lane has paused the partition."""
        return tp in self._buffered_partitions

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, list[Message]]]:
        """Yield what was fetched, a partition at a time.

        Stock: a message at a time, in turns of topics and partitions.
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
        """Hand fetched messages to the streams, those of a partition together: see `RecordBatch`.

        Stock: makes four tasks a message (wait_first), and drops the one in hand when the flow
        stops. Its write of the read offset after a wait through a rebalance hides what the seek
        made it fetch again; so here only if the generation is still the message's.
        """
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await asyncio.sleep(0)
                async for tp, messages in self.getmany(timeout=1.0):
                    await self._hand_on(tp, messages)
                    await asyncio.sleep(0)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise

    async def _hand_on(self, tp: TP, messages: list[Message]) -> None:
        read = self._read_offset[tp]
        fresh = [m for m in messages if read is None or m.offset >= read]
        # Recovery takes its messages singly.
        together = not self._is_changelog_tp(tp)
        for handed in [RecordBatch(fresh)] if together and fresh else fresh:
            if not self.flow_active:
                return
            await self.callback(handed)
            if handed.generation_id == self.app.consumer_generation_id:
                self._read_offset[tp] = fresh[-1].offset if together else handed.offset

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do not count skipped offsets as processed, as stock Faust does: admission seeks back."""
        self.gaps += 1

    def ack(self, message: Any) -> bool:
        """Ignore acks of an older generation; stock counts them and commits what it must not."""
        if message.generation_id != self.app.consumer_generation_id:
            self.stale_acks += 1
            return False
        return super().ack(message)


class HardenedTransport(driver.Transport):
    """The transport that makes our consumer and producer."""

    Consumer = HardenedConsumer
    Producer = HardenedProducer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of what is fetched, which what is sent follows.
        self.pace = LoadMeter()
