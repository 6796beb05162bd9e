"""Items of the retry topic wait here until they are due, then go back to their priority topic."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from processor.messages.admission import AdmittedMessage
from processor.messages.dead_letter import refuse
from processor.messages.publisher import Publisher, Topics
from schemas import cloudevents
from schemas.events import ItemQueued
from schemas.jobs import Priority
from schemas.times import to_epoch

log = logging.getLogger(__name__)


class RetryQueue:
    """A heap of admitted retries by due time; each partition holds at most `limit` of them."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        priority_topics: Mapping[Priority, str],
        topics: Topics,
        source: str,
        limit: int,
        on_full: Callable[[Any], None],
        on_drop: Callable[[Any], None],
    ) -> None:
        self._outbox = publisher
        self._priority_topics = priority_topics
        self._topics = topics
        self._source = source
        self._limit = limit
        self._on_full = on_full
        self._on_drop = on_drop
        self._heap: list[tuple[float, int, AdmittedMessage, ItemQueued]] = []
        self._order = itertools.count()
        self._held: Counter[Any] = Counter()
        self._changed = asyncio.Event()

    async def put(self, entry: AdmittedMessage) -> None:
        """Hold an admitted message of the retry topic until it is due."""
        message = entry.message
        try:
            event = cloudevents.decode(message.headers, message.value)
            if not isinstance(event, ItemQueued):
                raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
            due = to_epoch(event.due_at) if event.due_at else 0.0
        except ValueError as error:
            sends = refuse(self._outbox, self._topics, self._source, entry, str(error))
            await self._outbox.finish(entry, sends)
            return
        heapq.heappush(self._heap, (due, next(self._order), entry, event))
        self._held[entry.tp] += 1
        if self._held[entry.tp] >= self._limit:
            self._on_full(entry.tp)
        self._changed.set()

    def clear(self) -> None:
        """Let go of all; the partitions' next owner reads them again."""
        self._heap.clear()
        self._held.clear()

    async def run(self) -> None:
        """Send what is due back to its priority topic, for ever."""
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
        _, _, entry, event = heapq.heappop(self._heap)
        self._held[entry.tp] -= 1
        if self._held[entry.tp] <= self._limit // 2:
            self._on_drop(entry.tp)
        message = entry.message
        send = self._outbox.send(
            self._priority_topics[event.job.priority],
            message.key,
            cloudevents.Encoded(message.value, list(message.headers)),
            entry.tp.partition,
        )
        await self._outbox.finish(entry, send)
