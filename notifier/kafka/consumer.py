"""A Kafka consumer for asyncio that commits each partition up to its watermark."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.aio import AIOConsumer

from imagemill.kafka.offsets import OffsetTracker
from imagemill.kafka.topic_partition import TopicPartition

log = logging.getLogger(__name__)

_POLL_S = 0.2
_MAX_BATCH_MESSAGES = 200

# Ends the work on partitions that move to another consumer.
Release = Callable[[list[TopicPartition]], Awaitable[None]]


def place_of(message: Message) -> tuple[TopicPartition, int]:
    """Return the partition and offset of a message that is no error."""
    topic, number, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and number is not None and offset is not None
    return TopicPartition(topic, number), offset


class WatermarkConsumer:
    """Reads topics in a group; commits an offset only when all messages below it are done.

    The caller passes every message that `poll` returns to `done` once, in any order. Rebalance
    callbacks run on the loop, while the thread that polls waits for them.
    """

    def __init__(self, config: Mapping[str, Any], release: Release) -> None:
        """`release` is awaited before partitions go to another consumer, and on `close`."""
        self._release = release
        self._offsets: OffsetTracker[TopicPartition] = OffsetTracker()
        self._paused: frozenset[TopicPartition] = frozenset()
        self.ready = False
        self._consumer = AIOConsumer(
            dict(config)
            | {
                "partition.assignment.strategy": "cooperative-sticky",
                "on_commit": self._on_commit,
                "error_cb": self._on_error,
            },
            # Two threads: one polls, and the callback that it waits for commits on the other.
            max_workers=2,
        )

    async def subscribe(self, topics: list[str]) -> None:
        """Join the group; `ready` is true once partitions are assigned."""
        await self._consumer.subscribe(
            topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    @property
    def in_flight(self) -> int:
        """Messages that are not done."""
        return len(self._offsets)

    @property
    def behind(self) -> int:
        """Offsets from the watermarks to the last messages read; a crash repeats these."""
        return self._offsets.behind()

    async def poll(
        self, capacity: int, full: frozenset[TopicPartition] = frozenset()
    ) -> list[Message]:
        """Wait 0.2 s at most for messages; with a `capacity` of 0 or less, pause and return none.

        Partitions that are `full` pause by themselves. One message may come all the same, of a
        partition that is assigned during this call.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        await self._pause(capacity <= 0, full)
        first = await self._consumer.poll(_POLL_S)
        if first is None:
            return []
        # consume() waits until a batch is full; with 0 s it returns what was fetched already.
        more = min(capacity, _MAX_BATCH_MESSAGES) - 1
        polled = [first, *(await self._consumer.consume(more, 0) if more > 0 else ())]
        return [message for message in polled if self._received(message)]

    def done(self, partition: TopicPartition, offset: int) -> None:
        """Mark a message as done: its offset is committed once all before it are done."""
        self._offsets.done(partition, offset)

    async def commit(self) -> None:
        """Start committing the watermarks; a failure is logged, and the next call tries again."""
        if offsets := self._offsets.due():
            await self._consumer.commit(offsets=_positions(offsets), asynchronous=True)

    async def close(self) -> None:
        """Release all partitions, commit their watermarks, and leave the group."""
        await self._consumer.close()

    async def _pause(self, everything: bool, full: frozenset[TopicPartition]) -> None:
        # A paused consumer is still polled: one that is not holds up every rebalance of its group,
        # and is taken for dead after max.poll.interval.ms.
        if not everything and full == self._paused:
            return
        assigned = await self._consumer.assignment()
        pausing = [
            p for p in assigned if everything or TopicPartition(p.topic, p.partition) in full
        ]
        resuming = [p for p in assigned if p not in pausing]
        if pausing:
            await self._consumer.pause(pausing)
        if resuming and self._paused:
            await self._consumer.resume(resuming)
        self._paused = frozenset(TopicPartition(p.topic, p.partition) for p in pausing)

    def _received(self, message: Message) -> bool:
        if (error := message.error()) is None:
            self._opened(*place_of(message))
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error.str())
        return error is None

    def _opened(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._offsets.opened(partition, offset)
        except ValueError:
            # The topic was deleted and created, or its log truncated: older offsets mean nothing.
            log.warning("%s begins again at offset %d", partition, offset)
            self._offsets.drop(partition)
            self._offsets.opened(partition, offset)

    async def _on_error(self, error: KafkaError) -> None:
        log.warning("Kafka: %s", error.str())

    async def _on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        # _NO_OFFSET: there was nothing new to commit.
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            log.warning("offsets were not committed: %s", error.str())
        for entry in partitions if error is None else ():
            if entry.error is None:
                self._offsets.committed(TopicPartition(entry.topic, entry.partition), entry.offset)

    async def _assigned(self, _consumer: AIOConsumer, partitions: list[KafkaPartition]) -> None:
        self.ready = True
        log.info("reading %s", _names(partitions))

    async def _revoked(self, consumer: AIOConsumer, partitions: list[KafkaPartition]) -> None:
        offsets = await self._leave(partitions)
        try:
            if offsets:
                await consumer.commit(offsets=_positions(offsets), asynchronous=False)
        except KafkaException as error:
            # The next owner then reads some messages again, which guarantee 7 allows.
            log.warning("offsets were not committed before a rebalance: %s", error.args[0].str())

    async def _lost(self, _consumer: AIOConsumer, partitions: list[KafkaPartition]) -> None:
        # The next owner may have committed since; its offsets must not be overwritten.
        self.ready = False
        await self._leave(partitions)

    async def _leave(self, partitions: list[KafkaPartition]) -> dict[TopicPartition, int]:
        """End the work on partitions; return the watermarks that are not committed yet."""
        log.info("leaving %s", _names(partitions))
        leaving = [TopicPartition(entry.topic, entry.partition) for entry in partitions]
        await self._release(leaving)
        watermarks = {partition: self._offsets.drop(partition) for partition in leaving}
        return {partition: at for partition, at in watermarks.items() if at is not None}


def _positions(offsets: Mapping[TopicPartition, int]) -> list[KafkaPartition]:
    return [KafkaPartition(topic, number, at) for (topic, number), at in offsets.items()]


def _names(partitions: Iterable[KafkaPartition]) -> str:
    return ", ".join(f"{entry.topic}-{entry.partition}" for entry in partitions) or "no partitions"
