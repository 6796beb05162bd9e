"""Reads partitions with a plain consumer: no group, no commits, from any offset."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from faust.types import TP

from imagemill.kafka.config import consumer_config
from imagemill.settings import ProcessorSettings

log = logging.getLogger(__name__)

# Bytes of one partition in a fetch: a pass needs some hundred messages, then seeks elsewhere.
_MAX_PARTITION_FETCH_BYTES = 256 << 10
# Kilobytes of messages that librdkafka holds unread, of all partitions.
_MAX_HELD_KB = 8 << 10


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A message as admission and the parts behind it use it."""

    tp: TP
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @classmethod
    def of(cls, tp: TP, message: Message, headers: list[tuple[str, bytes]]) -> LogMessage:
        """Copy a message of the client."""
        return cls(tp, message.offset(), message.key(), message.value(), headers)


def reader_config(settings: ProcessorSettings) -> dict[str, Any]:
    """Configure the consumer.

    It names the processors' group, for which a worker has rights on a cluster with ACLs, but
    assigns itself its partitions, so it never joins; and it never commits.
    """
    return consumer_config(settings, "processor") | {
        # As Faust's consumer.
        "isolation.level": "read_uncommitted",
        "max.partition.fetch.bytes": _MAX_PARTITION_FETCH_BYTES,
        "queued.max.messages.kbytes": _MAX_HELD_KB,
        # Milliseconds until a fetch follows when the held messages have been read; 1000 by default.
        "fetch.queue.backoff.ms": 5,
    }


class LogReader:
    """A consumer of whatever partitions it is given; blocking, for one thread at a time."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._consumer: Consumer | None = None
        self._assigned: frozenset[TP] = frozenset()

    @property
    def is_open(self) -> bool:
        """True while there are connections to the broker."""
        return self._consumer is not None

    def follow(self, positions: Mapping[TP, int], seeks: Mapping[TP, int]) -> None:
        """Read these partitions; start those that are new at their positions, and seek in others.

        Args:
            positions: offset to read next of each partition.
            seeks: those of them that are not where reading has arrived.
        """
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        if positions.keys() == self._assigned:
            try:
                for tp, offset in seeks.items():
                    self._consumer.seek(TopicPartition(*tp, offset))
                return
            except KafkaException as error:
                # A partition that was assigned a moment ago cannot seek yet.
                log.debug("assigned again instead of a seek: %s", error)
        self._assigned = frozenset(positions)
        self._consumer.assign([TopicPartition(*tp, offset) for tp, offset in positions.items()])

    def read(self, limit: int, timeout_s: float) -> list[Message]:
        """Return the next messages; wait `timeout_s` seconds at most for the first."""
        assert self._consumer is not None
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        # consume() waits until a batch is full; with 0 s it returns what was fetched already.
        found = []
        for message in (first, *self._consumer.consume(limit - 1, 0)):
            if message.error() is None:
                found.append(message)
            else:
                log.warning("the scout cannot read: %s", message.error())
        return found

    def close(self) -> None:
        """Close the connections."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer, self._assigned = None, frozenset()
