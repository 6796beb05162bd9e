"""The priority gate: what starts next, and which partitions hold enough for now. No I/O."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from faust.types import TP

from processor.messages.admission import AdmittedMessage
from schemas.jobs import Priority

# Every 16th start takes the other end first, so that low jobs are slow under load, never starved.
FAIR_EVERY = 16


class PriorityQueue:
    """Admitted entries by priority; high first, then normal, then low.

    A partition that holds `lane_size` unstarted entries is paused by `on_full`, alone, and goes
    on at half of it by `on_drop`: a long low queue never blocks a high one.
    """

    def __init__(
        self, lane_size: int, on_full: Callable[[TP], None], on_drop: Callable[[TP], None]
    ) -> None:
        self._lane_size = lane_size
        self._on_full = on_full
        self._on_drop = on_drop
        self._queues: dict[Priority, deque[AdmittedMessage]] = {p: deque() for p in Priority}
        self._order = tuple(self._queues.values())
        self._held: Counter[TP] = Counter()
        self._filled = asyncio.Event()
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, priority: Priority, entry: AdmittedMessage) -> None:
        """Queue an admitted entry."""
        self._queues[priority].append(entry)
        self._held[entry.tp] += 1
        self._filled.set()
        if self._held[entry.tp] >= self._lane_size:
            self._on_full(entry.tp)

    def clear(self) -> None:
        """Let go of everything; the partitions' next owner reads it again."""
        for queue in self._queues.values():
            queue.clear()
        self._held.clear()

    def pop(self) -> AdmittedMessage | None:
        """The entry to start now, or None when nothing waits."""
        self._turn += 1
        queues = self._order if self._turn % FAIR_EVERY else reversed(self._order)
        for queue in queues:
            if queue:
                return self._release(queue.popleft())
        return None

    def _release(self, entry: AdmittedMessage) -> AdmittedMessage:
        self._held[entry.tp] -= 1
        if self._held[entry.tp] <= self._lane_size // 2:
            self._on_drop(entry.tp)
        return entry

    async def take(self) -> AdmittedMessage:
        """Wait for the entry to start next."""
        while (entry := self.pop()) is None:
            self._filled.clear()
            await self._filled.wait()
        return entry
