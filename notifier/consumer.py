"""A Kafka consumer for one asyncio loop: polled in a thread, committed up to what is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from imagemill.kafka.offsets import OrderedCommits

log = logging.getLogger(__name__)

_POLL_S = 0.2
_BATCH = 200

Partition = tuple[str, int]
# Ends the work on partitions that move away.
Release = Callable[[list[Partition]], Awaitable[None]]


def place_of(message: Message) -> tuple[Partition, int]:
    """The partition and offset of a message that is no error."""
    topic, number, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and number is not None and offset is not None
    return (topic, number), offset


class Reader:
    """Reads topics; all calls from the loop that made it.

    Every message that `poll` gives must be told to `done`, in any order.
    """

    def __init__(self, config: Mapping[str, Any], topics: list[str], release: Release) -> None:
        """`release` is awaited before partitions go to another consumer, on `close` too."""
        self._loop = asyncio.get_running_loop()
        self._release = release
        self._commits: OrderedCommits[Partition] = OrderedCommits()
        self._thread = ThreadPoolExecutor(1, "consumer")
        self._paused = False
        self.ready = False
        self._consumer = Consumer(
            dict(config)
            | {
                "partition.assignment.strategy": "cooperative-sticky",
                "on_commit": self._on_commit,
                "error_cb": lambda error: log.warning("Kafka: %s", error.str()),
            }
        )
        self._consumer.subscribe(
            topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def __len__(self) -> int:
        """Messages that are not done."""
        return len(self._commits)

    @property
    def behind(self) -> int:
        """Offsets that may not be committed yet: a crash brings their messages again."""
        return self._commits.behind()

    async def poll(self, room: int) -> list[Message]:
        """Messages that have come, after 0.2 seconds at most; none while there is no room.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        polled = await self._loop.run_in_executor(self._thread, self._poll, room)
        messages = []
        for message in polled:
            if (error := message.error()) is None:
                self._opened(*place_of(message))
                messages.append(message)
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("Kafka: %s", error.str())
        return messages

    def done(self, partition: Partition, offset: int) -> None:
        """That message may be committed, once those before it are done."""
        self._commits.done(partition, offset)

    def commit(self) -> None:
        """Starts committing what is done; what fails is logged, and done by the next call."""
        if offsets := self._commits.due():
            self._consumer.commit(offsets=_positions(offsets), asynchronous=True)

    async def close(self) -> None:
        """Releases all partitions, commits what that gives, and leaves the group."""
        await self._loop.run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown()

    def _opened(self, partition: Partition, offset: int) -> None:
        try:
            self._commits.opened(partition, offset)
        except ValueError:
            # The topic was made anew, or the log cut: what we knew of it is void.
            log.warning("%s-%d begins again at offset %d", *partition, offset)
            self._commits.drop(partition)
            self._commits.opened(partition, offset)

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

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        # _NO_OFFSET: there was nothing new to commit.
        if error is not None and error.code() != KafkaError._NO_OFFSET:
            log.warning("offsets were not committed: %s", error.str())
        if error is None:
            # Called on the thread that polls.
            self._loop.call_soon_threadsafe(self._committed, partitions)

    def _committed(self, partitions: list[TopicPartition]) -> None:
        for entry in partitions:
            if entry.error is None:
                self._commits.committed((entry.topic, entry.partition), entry.offset)

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
        await self._release(partitions)
        watermarks = {partition: self._commits.drop(partition) for partition in partitions}
        return {partition: at for partition, at in watermarks.items() if at is not None}


def _positions(offsets: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number, at) for (topic, number), at in offsets.items()]


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{entry.topic}-{entry.partition}" for entry in partitions) or "no partitions"
