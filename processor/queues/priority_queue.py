"""The priority queue: what starts next, and which partitions have enough prefetched. No I/O."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from faust.types import TP

from processor.messages.admission import AdmittedMessage
from processor.queues.ahead_room import Budget, Owner, Room, Rooms, Waiting
from processor.queues.fair_queue import FairQueue
from schemas.cloudevents import share_of
from schemas.jobs import Priority

# Every 16th start takes the lowest priority first, so that low jobs are slow under load, never
# starved.
FAIR_EVERY = 16


class Partitions(Protocol):
    """The consumer as queues use it: partitions are paused and resumed one by one."""

    def pause(self, tp: TP) -> None: ...
    def resume(self, tp: TP) -> None: ...


class PriorityQueue:
    """Admitted messages by priority; high first, then normal, then low.

    Within a priority the owners of the messages share the starts by weight: see `FairQueue`.

    A partition that has `prefetch_per_partition` messages in here is paused, alone, and resumed at
    half of it: a long low queue never blocks a high one. Messages that were admitted ahead do not
    count for their partitions; the scout asks for the room that there is for them.
    """

    def __init__(self, prefetch_per_partition: int, partitions: Partitions) -> None:
        self._prefetch = prefetch_per_partition
        self._partitions = partitions
        self._queues: dict[Priority, FairQueue[AdmittedMessage]] = {
            priority: FairQueue() for priority in Priority
        }
        self._order = tuple(self._queues.items())
        self._held: Counter[TP] = Counter()
        self._ahead: Counter[tuple[Priority, Owner]] = Counter()
        self._ahead_bytes = 0
        self._filled = asyncio.Event()
        self._starts = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, priority: Priority, admitted: AdmittedMessage) -> None:
        """Queue an admitted message; pause its partition when that has enough."""
        owner, weight = share_of(admitted.message.headers)
        self._queues[priority].put(owner, weight, admitted)
        self._filled.set()
        if admitted.ahead:
            self._ahead[priority, owner] += 1
            self._ahead_bytes += len(admitted.message.value or b"")
            return
        self._held[admitted.tp] += 1
        if self._held[admitted.tp] >= self._prefetch:
            self._partitions.pause(admitted.tp)

    def clear(self) -> None:
        """Drop all messages: the next owner of their partitions reads them again."""
        for queue in self._queues.values():
            queue.clear()
        self._held.clear()
        self._ahead.clear()
        self._ahead_bytes = 0

    def pop(self) -> AdmittedMessage | None:
        """Remove and return the message to start now; None when the queue is empty."""
        self._starts += 1
        queues = self._order if self._starts % FAIR_EVERY else reversed(self._order)
        for priority, queue in queues:
            admitted = queue.pop()
            if admitted is not None:
                return self._release(priority, admitted)
        return None

    def _release(self, priority: Priority, admitted: AdmittedMessage) -> AdmittedMessage:
        if admitted.ahead:
            key = (priority, share_of(admitted.message.headers).owner)
            self._ahead[key] -= 1
            if not self._ahead[key]:
                del self._ahead[key]
            self._ahead_bytes -= len(admitted.message.value or b"")
            return admitted
        self._held[admitted.tp] -= 1
        if self._held[admitted.tp] <= self._prefetch // 2:
            self._partitions.resume(admitted.tp)
        return admitted

    async def take(self) -> AdmittedMessage:
        """Wait for the message to start next; remove and return it."""
        while (admitted := self.pop()) is None:
            self._filled.clear()
            await self._filled.wait()
        return admitted

    def room_ahead(self, limit: int) -> Rooms:
        """Return the room for messages ahead, by priority.

        Args:
            limit: most messages ahead of all priorities together.
        """
        budget = Budget.of(limit, self._ahead.total(), self._ahead_bytes)
        rooms = {}
        for priority, queue in self._queues.items():
            waiting = {
                owner: Waiting(count, self._ahead.get((priority, owner), 0))
                for owner, count in queue.waiting_by_owner().items()
            }
            rooms[priority] = Room.beside(waiting, limit, budget)
        return rooms
