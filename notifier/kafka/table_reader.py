"""Reads compacted topics whole, and follows them; every process reads all partitions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.aio import AIOConsumer

from notifier.kafka.consumer import place_of

log = logging.getLogger(__name__)

_POLL_S = 0.2
_MAX_BATCH_MESSAGES = 500
_METADATA_TIMEOUT_S = 10.0


class Table(Protocol):
    """Keeps the newest record of each key."""

    def apply(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Apply a record; a value of None deletes the key."""


class TableReader:
    """One consumer of compacted topics, in no group."""

    def __init__(self, config: Mapping[str, Any], topics: list[str], table: Table) -> None:
        # librdkafka wants a group's name, but neither joins it nor commits for it here.
        self._consumer = AIOConsumer(dict(config) | {"enable.partition.eof": True}, max_workers=1)
        self._topics = topics
        self._table = table
        self._ends_to_reach: set[tuple[str, int]] = set()
        self._stopping = False

    async def load(self) -> None:
        """Read the topics to their ends.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        partitions = []
        for name in self._topics:
            metadata = await self._consumer.list_topics(name, timeout=_METADATA_TIMEOUT_S)
            partitions += [(name, number) for number in metadata.topics[name].partitions]
        self._ends_to_reach = set(partitions)
        await self._consumer.assign(
            [KafkaPartition(topic, number, OFFSET_BEGINNING) for topic, number in partitions]
        )
        while self._ends_to_reach and not self._stopping:
            await self._read()

    async def run(self) -> None:
        """Apply new records until `stop`.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        while not self._stopping:
            await self._read()

    def stop(self) -> None:
        """Make `load` and `run` return."""
        self._stopping = True

    async def close(self) -> None:
        """Close the consumer."""
        self._stopping = True
        await self._consumer.close()

    async def _read(self) -> None:
        first = await self._consumer.poll(_POLL_S)
        if first is None:
            return
        for message in [first, *await self._consumer.consume(_MAX_BATCH_MESSAGES, 0)]:
            self._received(message)
        # A long topic must not keep the loop from everything else.
        await asyncio.sleep(0)

    def _received(self, message: Message) -> None:
        error = message.error()
        if error is None:
            (topic, _), _ = place_of(message)
            self._table.apply(topic, message.key(), message.value())
        elif error.code() == KafkaError._PARTITION_EOF:
            self._ends_to_reach.discard((message.topic(), message.partition()))
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error.str())
