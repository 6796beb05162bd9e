"""The invariant at the heart: in by offset, out by offset, anything else seeks back.

1. An event is admitted only if it is the next offset of its partition.
2. It is acked only when everything admitted before it is done.
3. Anything else makes the partition seek back to what is missing; offsets are passed over only
   when the log itself lacks them (retention, transaction markers), asked with another client.

With it, a dropped batch, a double delivery, a late ack or a skipped offset cannot lose a job,
whatever in Faust or the client caused it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.types import TP

log = logging.getLogger(__name__)

# A partition is sought back at most this often: what was fetched before the seek still arrives.
_SEEK_BACK_INTERVAL_S = 0.5
# A partition with unread messages lost its tail if its topic delivered nothing for this long. A
# busy topic's partition may only be waiting for its turn: it is given ten times as long.
_STALL_S = 3.0
_STALL_BUSY_S = 30.0
# `expected` of a partition that admits nothing more: a revoke has begun.
CLOSED = -1


class Reader(Protocol):
    """The consumer as the admission uses it."""

    def ack(self, message: Any) -> Any: ...
    def seek_back(self, tp: TP, offset: int) -> None: ...
    async def first_at(self, tp: TP, offset: int) -> int: ...
    def pass_over(self, tp: TP, offset: int) -> None: ...
    def highwater(self, tp: TP) -> int: ...
    def is_paused(self, tp: TP) -> bool: ...


@dataclass(slots=True, eq=False)
class AdmittedMessage:
    """An admitted message: its turn in the partition, and whether it is done."""

    message: Any
    tp: TP
    epoch: int
    done: bool = False


@dataclass(slots=True)
class Partition:
    """What is expected next and what is open, in offset order."""

    expected: int
    open: deque[AdmittedMessage] = field(default_factory=deque)
    moved_at: float = field(default_factory=time.monotonic)
    # Of the last seek back; and whether what came since showed a hole that is still open.
    sought: int = CLOSED
    sought_at: float = -math.inf
    hole: bool = False


class Admission:
    """Admits events in order, acks them in order, and waits for running ones on a revoke."""

    def __init__(
        self,
        reader: Callable[[], Reader],
        generation: Callable[[], int],
        grace_s: float,
        quiet: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            reader: the consumer, asked for when needed (Faust makes it late).
            generation: the consumer group's present generation.
            grace_s: seconds a revoke waits for running events.
            quiet: whether a rebalance or recovery is under way, when stalls are normal.
        """
        self._reader = reader
        self._generation = generation
        self._grace_s = grace_s
        self._quiet = quiet
        self._partitions: dict[TP, Partition] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.epoch = 0
        self.running = 0
        self.counts: Counter[str] = Counter()
        self.before_revoke: list[Callable[[], None]] = []
        self.after_revoke: list[Callable[[], None]] = []

    def start(self, tp: TP, offset: int) -> None:
        """The partition is read from `offset` on."""
        self._partitions[tp] = Partition(expected=offset)

    def admit(self, message: Any) -> AdmittedMessage | None:
        """The message's entry if it is the next of its partition; else None, and a hole heals."""
        tp = ensure_TP(message.tp)
        partition = self._partitions.get(tp)
        closed = partition is None or partition.expected == CLOSED
        if closed or message.generation_id != self._generation():
            self.counts["stale"] += 1
            return None
        if message.offset != partition.expected:
            self._refuse(tp, partition, message.offset)
            return None
        partition.expected += 1
        partition.moved_at = time.monotonic()
        partition.hole = False
        entry = AdmittedMessage(message, tp, self.epoch)
        partition.open.append(entry)
        return entry

    def _refuse(self, tp: TP, partition: Partition, offset: int) -> None:
        if offset < partition.expected:
            self.counts["repeated"] += 1
            return
        self.counts["hole"] += 1
        partition.hole = True
        self._heal(tp, partition, f"offset {offset} came")

    def _heal(self, tp: TP, partition: Partition, why: str) -> None:
        """Seek back to what is missing, unless that was done a moment ago."""
        now = time.monotonic()
        if now - partition.sought_at <= _SEEK_BACK_INTERVAL_S:
            return
        again = partition.sought == partition.expected
        partition.sought, partition.sought_at = partition.expected, now
        self.counts["seek_back"] += 1
        log.warning("%s-%d: back to %d, %s", tp.topic, tp.partition, partition.expected, why)
        self._reader().seek_back(tp, partition.expected)
        if again:
            task = asyncio.ensure_future(self._pass_over(tp, partition))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_over(self, tp: TP, partition: Partition) -> None:
        """Go on behind offsets that the log does not have: only the broker's word allows it."""
        wanted = partition.expected
        try:
            first = await self._reader().first_at(tp, wanted)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("%s-%d: the broker cannot be asked: %r", tp.topic, tp.partition, error)
            return  # asked again at the next seek back
        if first > wanted == partition.expected:
            log.warning(
                "%s-%d: the log has nothing from %d to %d", tp.topic, tp.partition, wanted, first
            )
            self.counts["passed_over"] += 1
            partition.expected = first
            self._reader().pass_over(tp, first)

    def begin(self) -> None:
        """An entry's work starts; a revoke waits for its `end`."""
        self.running += 1
        self._idle.clear()

    def end(self) -> None:
        """An entry's work has ended, done or not."""
        self.running -= 1
        if not self.running:
            self._idle.set()

    def is_current(self, entry: AdmittedMessage) -> bool:
        """Whether the entry's partition is still ours since it was admitted."""
        return entry.epoch == self.epoch

    def done(self, entry: AdmittedMessage) -> None:
        """The entry's effects are in the log; ack it once all before it are done."""
        entry.done = True
        partition = self._partitions.get(entry.tp)
        if partition is None or entry.epoch != self.epoch:
            self.counts["late"] += 1
            return
        while partition.open and partition.open[0].done:
            self._reader().ack(partition.open.popleft().message)

    async def revoke(self) -> None:
        """Admit nothing more, let go of what has not started, wait for what runs (bounded)."""
        self.close()
        if self.running:
            try:
                await asyncio.wait_for(self._idle.wait(), self._grace_s)
            except TimeoutError:
                self.counts["grace_over"] += 1
                log.warning("%d items still run after %.0f s", self.running, self._grace_s)
        self._partitions.clear()
        self.epoch += 1
        for call in self.after_revoke:
            call()

    def close(self) -> None:
        """Refuse further events; tell those who hold admitted ones."""
        for partition in self._partitions.values():
            partition.expected = CLOSED
        for call in self.before_revoke:
            call()

    async def watch(self, interval_s: float = 1.0) -> None:
        """Heal lost tails: fetched and lost with nothing behind them, so that no hole shows."""
        while True:
            await asyncio.sleep(interval_s)
            if not self._quiet():
                self._heal_stalls()

    def _heal_stalls(self) -> None:
        reader, now = self._reader(), time.monotonic()
        topics_moved: dict[str, float] = {}
        for tp, partition in self._partitions.items():
            topics_moved[tp.topic] = max(topics_moved.get(tp.topic, 0.0), partition.moved_at)
        for tp, partition in self._partitions.items():
            if partition.expected == CLOSED or reader.is_paused(tp):
                continue
            quiet = now - max(topics_moved[tp.topic], partition.sought_at) > _STALL_S
            stalled = quiet or now - max(partition.moved_at, partition.sought_at) > _STALL_BUSY_S
            if partition.hole:
                self._heal(tp, partition, "the hole is still open")
            elif stalled and not partition.open:
                high = reader.highwater(tp)
                if high and partition.expected < high:
                    self._heal(tp, partition, f"nothing came though the log ends at {high}")
