"""A Kafka consumer for one asyncio loop: polled in a thread, told when partitions move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

log = logging.getLogger(__name__)

_POLL_S = 0.2
_BATCH = 200

Partition = tuple[str, int]
# Ends the work on partitions that move away; gives the offsets to commit for them.
Release = Callable[[list[Partition]], Awaitable[Mapping[Partition, int]]]


class Reader:
    """Reads topics; all calls from the loop that made it."""

    def __init__(self, config: Mapping[str, Any], topics: list[str], release: Release) -> None:
        """`release` is awaited before partitions go to another consumer, on `close` too."""
        self._loop = asyncio.get_running_loop()
        self._release = release
        self._thread = ThreadPoolExecutor(1, "consumer")
        self._paused = False
        self.ready = False
        self._consumer = Consumer(
            dict(config)
            | {
                "partition.assignment.strategy": "cooperative-sticky",
                "on_commit": _committed,
                "error_cb": lambda error: log.warning("Kafka: %s", error.str()),
            }
        )
        self._consumer.subscribe(
            topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    async def poll(self, room: int) -> list[Message]:
        """Messages that have come, after 0.2 seconds at most; none while there is no room.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        messages = await self._loop.run_in_executor(self._thread, self._poll, room)
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                log.warning("Kafka: %s", error.str())
        return [message for message in messages if message.error() is None]

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Starts committing offsets; what fails is logged and covered by the next commit."""
        if offsets:
            self._consumer.commit(offsets=_positions(offsets), asynchronous=True)

    async def close(self) -> None:
        """Releases all partitions, commits what that gives, and leaves the group."""
        await self._loop.run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown()

    def _poll(self, room: int) -> list[Message]:
        # Polling goes on while there is no room: a consumer that does not poll holds up every
        # rebalance of its group, and is taken for dead in the end.
        if room <= 0:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return []
        more = min(room, _BATCH) - 1
        return [first, *(self._consumer.consume(more, 0) if more > 0 else ())]

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.ready = True
        log.info("reading %s", _names(partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        offsets = self._released(partitions)
        if not offsets:
            return
        try:
            consumer.commit(offsets=_positions(offsets), asynchronous=False)
        except KafkaException as error:
            # The next owner then reads some messages again, which is allowed.
            log.warning("offsets were not committed before a rebalance: %s", error.args[0].str())

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Others may have read on since: our offsets must not overwrite theirs.
        self.ready = False
        self._released(partitions)

    def _released(self, partitions: list[TopicPartition]) -> Mapping[Partition, int]:
        log.info("leaving %s", _names(partitions))
        names = [(partition.topic, partition.partition) for partition in partitions]
        # The loop is free: it awaits the poll that called this.
        return asyncio.run_coroutine_threadsafe(self._give_up(names), self._loop).result()

    async def _give_up(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        return await self._release(partitions)


def _positions(offsets: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number, at) for (topic, number), at in offsets.items()]


def _committed(error: KafkaError | None, _partitions: list[TopicPartition]) -> None:
    # _NO_OFFSET: there was nothing new to commit.
    if error is not None and error.code() != KafkaError._NO_OFFSET:
        log.warning("offsets were not committed: %s", error.str())


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{entry.topic}-{entry.partition}" for entry in partitions) or "no partitions"
