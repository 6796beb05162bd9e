"""The retry queue: messages of `jobs.retry` wait until they are due for their priority topic."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import Counter

from faust.types import TP

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery, Publisher
from processor.queues.priority_queue import Partitions
from schemas import cloudevents
from schemas.events import ItemQueued
from schemas.jobs import Priority
from schemas.times import to_epoch

log = logging.getLogger(__name__)


class RetryQueue:
    """A heap of admitted retries by due time.

    A partition that has `limit` of them in here is paused, and resumed at half of it.
    """

    def __init__(self, publisher: Publisher, partitions: Partitions, limit: int) -> None:
        self._publisher = publisher
        self._partitions = partitions
        self._limit = limit
        # Due time in Unix seconds; the number orders retries of the same time.
        self._heap: list[tuple[float, int, AdmittedMessage, Priority]] = []
        self._number = itertools.count()
        self._held: Counter[TP] = Counter()
        self._changed = asyncio.Event()

    async def put(self, admitted: AdmittedMessage) -> None:
        """Hold an admitted message of `jobs.retry` until it is due."""
        message = admitted.message
        try:
            event = cloudevents.decode(message.headers, message.value)
            if not isinstance(event, ItemQueued):
                raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
            due = to_epoch(event.due_at) if event.due_at else 0.0
        except ValueError as error:
            # Guarantee 5.
            rejected = self._publisher.reject(admitted, str(error))
            await self._publisher.process(admitted, rejected)
            return
        heapq.heappush(self._heap, (due, next(self._number), admitted, event.job.priority))
        self._held[admitted.tp] += 1
        if self._held[admitted.tp] >= self._limit:
            self._partitions.pause(admitted.tp)
        self._changed.set()

    def clear(self) -> None:
        """Drop all retries: the next owner of their partitions reads them again."""
        self._heap.clear()
        self._held.clear()

    async def run(self) -> None:
        """Requeue each retry when it is due, for ever."""
        while True:
            self._changed.clear()
            wait_s = self._heap[0][0] - time.time() if self._heap else None
            if wait_s is None or wait_s > 0:
                try:
                    await asyncio.wait_for(self._changed.wait(), wait_s)
                except TimeoutError:
                    log.debug("a retry is due")
                continue
            await self._release()

    async def _release(self) -> None:
        _, _, admitted, priority = heapq.heappop(self._heap)
        self._held[admitted.tp] -= 1
        if self._held[admitted.tp] <= self._limit // 2:
            self._partitions.resume(admitted.tp)
        await self._publisher.process(admitted, self._requeue(admitted, priority))

    async def _requeue(self, admitted: AdmittedMessage, priority: Priority) -> list[Delivery]:
        return [await self._publisher.requeue(admitted, priority)]
