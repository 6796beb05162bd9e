"""Reads single messages by their offset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.aio import AIOConsumer

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition

_TIMEOUT_S = 10.0
_NO_SUCH_OFFSET = (
    KafkaError._PARTITION_EOF,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class NoSuchMessage(ValueError):
    """There is no message at that offset, or no longer."""


class RecordReader:
    """One consumer, in no group; it reads one message at a time."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        # An offset that retention has removed is an error, not the next message.
        options = {"enable.partition.eof": True, "auto.offset.reset": "error"}
        self._consumer = AIOConsumer(dict(config) | options, max_workers=1)

    async def read(self, partition: TopicPartition, offset: int) -> Message:
        """Return the message at an offset.

        Raises:
            NoSuchMessage: there is none.
            KafkaUnavailable: the broker did not answer in time.
        """
        await self._consumer.assign([KafkaPartition(*partition, offset)])
        try:
            message = await self._consumer.poll(_TIMEOUT_S)
        finally:
            await self._consumer.unassign()
        if message is None:
            raise KafkaUnavailable(f"{partition}@{offset} was not read within {_TIMEOUT_S:.0f} s")
        error = message.error()
        if error is not None and error.code() not in _NO_SUCH_OFFSET:
            raise KafkaUnavailable(f"{partition}@{offset} was not read: {error.str()}")
        if error is not None or message.offset() != offset:
            raise NoSuchMessage(f"no message is at {partition}@{offset}, or no longer")
        return message

    async def close(self) -> None:
        """Close the consumer."""
        await self._consumer.close()
