"""Admission, the invariant of the processor: in by offset, out by offset, else seek back.

1. A message is admitted only if it is the next offset of its partition, or ahead: see below.
2. An offset is committed only when every message admitted below it is done.
3. Anything else makes the partition seek back to the offset that is missing.
4. Offsets are passed over only where the log itself lacks them (retention, transaction markers),
   and only after another client has looked into the log.

So a dropped batch, a double delivery, a late end or a skipped offset cannot lose a job, whatever
in Faust or the client caused it (guarantee 1, link 2). "Acked" means done, and so committed with
all before it.

A message may also be admitted ahead, by `admit_ahead`, when the scout has read it behind a long
queue. When its offset is the next one it is passed over: it is in flight or done already. Rule 2
holds for it too, and the commits' metadata say which offsets beyond them are done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.types import TP

from imagemill.kafka.offset_set import MAX_METADATA_CHARS, OffsetSet
from imagemill.kafka.offsets import OffsetTracker

log = logging.getLogger(__name__)

# Shortest time between two seeks of one partition: records fetched before a seek still arrive
# after it, and each of them would cause another seek.
_MIN_SEEK_INTERVAL_S = 0.5
# A partition with unread messages has lost its tail if its topic delivered nothing for this long.
# On a busy topic the partition may only wait behind others, so it gets ten times as long.
_STALL_S = 3.0
_STALL_ON_BUSY_TOPIC_S = 30.0
# Nothing more is admitted ahead in a partition whose metadata takes this many characters, or this
# many offsets beyond its watermark: a commit holds no more, so a crash would repeat the rest.
_MAX_AHEAD_CHARS = MAX_METADATA_CHARS * 3 // 4
_MAX_AHEAD_OFFSETS = 1_000_000
# `expected` of a partition that admits nothing more, because a revoke has begun.
_CLOSED = -1


class Consumer(Protocol):
    """The consumer as admission uses it."""

    @property
    def generation(self) -> int: ...
    @property
    def rebalancing(self) -> bool: ...
    def seek_back(self, tp: TP, offset: int) -> None: ...
    async def first_at(self, tp: TP, offset: int) -> int: ...
    def highwater(self, tp: TP) -> int: ...
    def received_to(self, tp: TP) -> int: ...
    def is_paused(self, tp: TP) -> bool: ...


@dataclass(slots=True, eq=False)
class AdmittedMessage:
    """A message in flight; `epoch` counts the revokes before its admission.

    `ahead`: it was admitted before messages that precede it in its partition.
    """

    message: Any
    tp: TP
    epoch: int
    ahead: bool = False


@dataclass(slots=True)
class _Partition:
    """The next offset to admit, in one generation of the consumer group."""

    expected: int
    generation: int
    moved_at: float = field(default_factory=time.monotonic)
    # Of the last seek back; and whether a message that came since showed that the hole is open.
    sought: int = _CLOSED
    sought_at: float = -math.inf
    hole: bool = False
    # Characters of the metadata of the last commit that was due.
    metadata_chars: int = 0


class Admission:
    """Admits messages in order, says what may be committed, and waits for the running ones."""

    def __init__(self, consumer: Consumer, grace_s: float) -> None:
        """
        Args:
            consumer: seeks; knows the group's generation.
            grace_s: longest time that a revoke waits for running messages, seconds.
        """
        self._consumer = consumer
        self._grace_s = grace_s
        self._partitions: dict[TP, _Partition] = {}
        self._offsets: OffsetTracker[TP] = OffsetTracker()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.epoch = 0
        self.running = 0
        self.counts: Counter[str] = Counter()

    def start(self, tp: TP, offset: int, metadata: str = "") -> None:
        """Admit the partition's messages from `offset` on, without those that are done.

        Args:
            metadata: of the commit of that offset; it names the offsets beyond it that are done.
        """
        self._partitions[tp] = _Partition(offset, self._consumer.generation)
        try:
            done = OffsetSet.decode(metadata)
        except ValueError as error:
            log.warning("%s-%d: the commit's metadata: %s", tp.topic, tp.partition, error)
            done = OffsetSet()
        self._offsets.start(tp, offset, done)

    def admit(self, message: Any) -> AdmittedMessage | None:
        """Admit a message that is the next of its partition; None for any other.

        A message behind a hole makes its partition seek back to the hole.
        """
        tp = ensure_TP(message.tp)
        partition = self._partitions.get(tp)
        closed = partition is None or partition.expected == _CLOSED
        if closed or message.generation_id != self._consumer.generation:
            self.counts["stale"] += 1
            return None
        # Step 1: only the next offset.
        if message.offset != partition.expected:
            self._refuse(tp, partition, message.offset)
            return None
        partition.expected += 1
        partition.moved_at = time.monotonic()
        partition.hole = False
        if not self._offsets.opened(tp, message.offset):
            self.counts["was_ahead"] += 1
            return None
        return AdmittedMessage(message, tp, self.epoch)

    @property
    def partitions(self) -> tuple[TP, ...]:
        """The partitions that were started."""
        return tuple(self._partitions)

    def expected(self, tp: TP) -> int | None:
        """Return the next offset of a partition; None if nothing of it is admitted now."""
        partition = self._partitions.get(tp)
        if partition is None or partition.expected == _CLOSED:
            return None
        return partition.expected if partition.generation == self._consumer.generation else None

    def received(self, tp: TP) -> int:
        """Number of a partition's messages that the client has received and none has admitted."""
        expected = self.expected(tp)
        return max(0, self._consumer.received_to(tp) - expected) if expected is not None else 0

    def admits_ahead(self, tp: TP, offset: int) -> bool:
        """Return whether the commits of a partition can still hold that an offset is done."""
        partition = self._partitions.get(tp)
        return (
            partition is not None
            and partition.metadata_chars <= _MAX_AHEAD_CHARS
            and self._offsets.distance(tp, offset) <= _MAX_AHEAD_OFFSETS
        )

    def admit_ahead(self, message: Any, generation: int) -> AdmittedMessage | None:
        """Admit a message before those that precede it; None if it was admitted, or is not ours.

        Args:
            generation: the consumer group's when the message was read.
        """
        tp = message.tp
        if self.expected(tp) is None or generation != self._consumer.generation:
            return None
        if not self._offsets.opened_ahead(tp, message.offset):
            return None
        self.counts["ahead"] += 1
        return AdmittedMessage(message, tp, self.epoch, ahead=True)

    def _refuse(self, tp: TP, partition: _Partition, offset: int) -> None:
        if offset < partition.expected:
            self.counts["repeated"] += 1
            return
        self.counts["hole"] += 1
        partition.hole = True
        self._seek_back_to_hole(tp, partition, f"offset {offset} came")

    def _seek_back_to_hole(self, tp: TP, partition: _Partition, why: str) -> None:
        """Step 3: seek to the offset that is missing, at most once in the shortest interval."""
        now = time.monotonic()
        if now - partition.sought_at <= _MIN_SEEK_INTERVAL_S:
            return
        again = partition.sought == partition.expected
        partition.sought, partition.sought_at = partition.expected, now
        self.counts["seek_back"] += 1
        log.warning("%s-%d: seek back to %d, %s", tp.topic, tp.partition, partition.expected, why)
        self._consumer.seek_back(tp, partition.expected)
        if again:
            task = asyncio.ensure_future(self._pass_over(tp, partition))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_over(self, tp: TP, partition: _Partition) -> None:
        """Step 4: continue behind offsets that the log lacks, if another client confirms it."""
        wanted = partition.expected
        try:
            first = await self._consumer.first_at(tp, wanted)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("%s-%d: the broker cannot be asked: %r", tp.topic, tp.partition, error)
            return  # asked again at the next seek back
        if first > wanted == partition.expected:
            log.warning(
                "%s-%d: the log has nothing from %d to %d", tp.topic, tp.partition, wanted, first
            )
            self.counts["passed_over"] += 1
            partition.expected = first
            self._offsets.skip_to(tp, first)

    def begin(self) -> None:
        """Count a message whose work starts: a revoke waits for its `end`."""
        self.running += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a message whose work has ended, done or not."""
        self.running -= 1
        if not self.running:
            self._idle.set()

    def done(self, admitted: AdmittedMessage) -> None:
        """Ack a message: its effects are in the log.

        A message that was admitted before the last revoke is not acked: its partition's next
        owner reads it again.
        """
        if admitted.epoch != self.epoch:
            self.counts["late"] += 1
            return
        self._offsets.done(admitted.tp, admitted.message.offset)

    def due(self) -> dict[TP, int]:
        """Step 2: return the offsets to commit, those of the present generation only.

        In a new generation a partition may have had another owner since, whose commits an offset
        of ours must not set back.
        """
        generation = self._consumer.generation
        return {
            tp: offset
            for tp, offset in self._offsets.due().items()
            if self._partitions[tp].generation == generation
        }

    def metadata(self, tp: TP) -> str:
        """Return the metadata of a partition's commit: the offsets beyond it that are done."""
        text = self._offsets.done_beyond(tp).encode()
        self._partitions[tp].metadata_chars = len(text)
        return text

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """Note offsets that were committed."""
        for tp, offset in offsets.items():
            self._offsets.committed(tp, offset)

    def close(self) -> None:
        """Admit nothing more of any partition; messages in flight may still be acked."""
        for partition in self._partitions.values():
            partition.expected = _CLOSED

    async def drain(self) -> None:
        """Wait for the running messages, for `grace_s` at most; then refuse their acks.

        The watermarks stay, to be committed before the partitions move.
        """
        if self.running:
            try:
                await asyncio.wait_for(self._idle.wait(), self._grace_s)
            except TimeoutError:
                self.counts["grace_over"] += 1
                log.warning("%d messages still run after %.0f s", self.running, self._grace_s)
        # A seek while the flow was stopped may have started partitions again.
        self.close()
        self.epoch += 1

    async def watch(self, interval_s: float = 1.0) -> None:
        """Look for lost tails every `interval_s` seconds, for ever.

        Messages that were fetched and lost with nothing behind them leave no hole to be seen.
        """
        while True:
            await asyncio.sleep(interval_s)
            if not self._consumer.rebalancing:
                self._seek_back_where_stalled()

    def _seek_back_where_stalled(self) -> None:
        consumer, now = self._consumer, time.monotonic()
        topics_moved: dict[str, float] = {}
        for tp, partition in self._partitions.items():
            topics_moved[tp.topic] = max(topics_moved.get(tp.topic, 0.0), partition.moved_at)
        for tp, partition in self._partitions.items():
            if partition.expected == _CLOSED or consumer.is_paused(tp):
                continue
            topic_idle_s = now - max(topics_moved[tp.topic], partition.sought_at)
            idle_s = now - max(partition.moved_at, partition.sought_at)
            stalled = topic_idle_s > _STALL_S or idle_s > _STALL_ON_BUSY_TOPIC_S
            if partition.hole:
                self._seek_back_to_hole(tp, partition, "the hole is still open")
            elif stalled and not self._offsets.in_flight(tp):
                end = consumer.highwater(tp)
                if end and partition.expected < end:
                    why = f"nothing came though the log ends at {end}"
                    self._seek_back_to_hole(tp, partition, why)
