"""Reads messages, starts the deliveries that they ask for, and commits what is done.

1. Poll as many messages as the handler has capacity for; without capacity, reading pauses.
2. Start an asyncio task for each delivery; an undecodable message goes to `jobs.dead-letter`.
3. Mark a message as done once all its deliveries are over or requeued, and that is on record.
4. Commit the watermarks every half second.
5. When a partition moves to another process, cancel its deliveries first: what does not post just
   then is requeued.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import Message

from imagemill.kafka.topic_partition import TopicPartition
from notifier.kafka.consumer import WatermarkConsumer, place_of
from notifier.kafka.records import DeliveryRecords
from notifier.loops.handlers import Handler
from notifier.posts.delivery import DeliveryTask

log = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.5
# Partitions pause after this long without capacity.
_PAUSE_AFTER_S = 1.0
# A partition that moves away waits this long for the attempts under way.
_RELEASE_GRACE_S = 5.0


class _InFlight(NamedTuple):
    """Work on one message: its deliveries if it has any, and all its asyncio tasks."""

    partition: TopicPartition
    deliveries: list[DeliveryTask]
    tasks: list[asyncio.Task[None]]


class MessageLoop:
    """One consumer, and the deliveries under way for its messages."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: list[str],
        handler: Handler,
        records: DeliveryRecords,
        max_repeats: int,
    ) -> None:
        """`max_repeats` bounds the messages read beyond a watermark: a crash repeats these."""
        self._consumer = WatermarkConsumer(config, self._release)
        self._topics = topics
        self._handler = handler
        self._records = records
        self._max_repeats = max_repeats
        self._in_flight: dict[asyncio.Future[list[Any]], _InFlight] = {}
        self._stopping = False
        self._wake = asyncio.Event()

    @property
    def ready(self) -> bool:
        """True while partitions are assigned."""
        return self._consumer.ready

    @property
    def behind(self) -> int:
        """Messages that a crash would repeat."""
        return self._consumer.behind

    @property
    def deliveries(self) -> int:
        """Deliveries under way."""
        return sum(len(entry.deliveries) for entry in self._in_flight.values())

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Read until `stop`.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        await self._consumer.subscribe(self._topics)
        commit_at = 0.0
        while not self._stopping:
            # Pausing discards what was fetched ahead, so wait for capacity a moment first.
            await self._wait_for_capacity(_PAUSE_AFTER_S)
            for message in await self._consumer.poll(self._capacity(), self._full_partitions()):
                self._start(message)
            if time.monotonic() >= commit_at:
                await self._consumer.commit()
                commit_at = time.monotonic() + _COMMIT_INTERVAL_S

    async def close(self, grace_s: float) -> None:
        """End the deliveries under way, commit, and leave the group.

        Attempts are given `grace_s` seconds to end; deliveries that wait are requeued.
        """
        await self._cancel(list(self._in_flight), grace_s)
        for entry in self._in_flight.values():
            for task in entry.tasks:
                task.cancel()
        await asyncio.gather(*self._in_flight)
        await self._consumer.close()

    def _capacity(self) -> int:
        capacity = self._handler.capacity(self._consumer.in_flight)
        return min(capacity, self._max_repeats - self._consumer.behind)

    def _full_partitions(self) -> frozenset[TopicPartition]:
        limit = self._handler.partition_capacity
        if limit is None:
            return frozenset()
        counts = Counter(entry.partition for entry in self._in_flight.values())
        return frozenset(partition for partition, count in counts.items() if count >= limit)

    async def _wait_for_capacity(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while (
            not self._stopping and self._capacity() <= 0 and (left_s := end - time.monotonic()) > 0
        ):
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)

    def _start(self, message: Message) -> None:
        """Start the deliveries of a message; without any, it is done at once."""
        place = place_of(message)
        reason, deliveries = None, []
        try:
            deliveries = self._handler.tasks(message)
        except ValueError as error:
            reason = str(error)
        except Exception as error:
            # Guarantee 5: a defect of ours would repeat each time that the message is read.
            log.exception("a message broke the notifier")
            reason = f"internal error: {error!r}"
        if reason is not None:
            tasks = [asyncio.create_task(self._records.dead_letter(message, reason))]
        else:
            tasks = [delivery.start(self._handler.run(delivery)) for delivery in deliveries]
        if not tasks:
            self._consumer.done(*place)
            return
        ended = asyncio.gather(*tasks, return_exceptions=True)
        self._in_flight[ended] = _InFlight(place[0], deliveries, tasks)
        ended.add_done_callback(partial(self._ended, *place))

    def _ended(
        self,
        partition: TopicPartition,
        offset: int,
        ended: asyncio.Future[list[BaseException | None]],
    ) -> None:
        del self._in_flight[ended]
        errors = [error for error in ended.result() if error is not None]
        if any(isinstance(error, asyncio.CancelledError) for error in errors):
            # Guarantee 1, link 6: not on record, so the next owner must read the message again.
            return
        for error in errors:
            log.error("%s@%d broke the notifier", partition, offset, exc_info=error)
        self._consumer.done(partition, offset)
        self._wake.set()

    async def _release(self, partitions: list[TopicPartition]) -> None:
        leaving = [
            ended for ended, entry in self._in_flight.items() if entry.partition in partitions
        ]
        await self._cancel(leaving, _RELEASE_GRACE_S)

    async def _cancel(self, leaving: list[asyncio.Future[Any]], grace_s: float) -> None:
        """Cancel the deliveries, and wait `grace_s` seconds at most for their attempts to end."""
        for ended in leaving:
            for delivery in self._in_flight[ended].deliveries:
                delivery.cancel()
        if leaving:
            await asyncio.wait(leaving, timeout=grace_s)
