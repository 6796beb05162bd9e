"""Reads given partitions to their ends and on, without a consumer group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as AssignedPartition
from confluent_kafka.cimpl import Message

from imagemill.kafka.config import consumer_config
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import ApiSettings

log = logging.getLogger(__name__)

_CLUSTER_TIMEOUT_S = 5.0
# Fetched and not read yet; a filling has two readers.
_FETCHED_KB = 16 * 1024


def partitions_of(settings: ApiSettings, topics: Iterable[str]) -> list[TopicPartition]:
    """All partitions of these topics."""
    numbers = range(settings.topic_partitions)
    return [TopicPartition(topic, number) for topic in topics for number in numbers]


class TopicReader:
    """The messages of some topics, for one thread; `assign` before use, `close` at the end."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._consumer = Consumer(
            consumer_config(settings, "api-projection")
            | {
                "enable.partition.eof": True,
                "fetch.error.backoff.ms": 100,
                "queued.max.messages.kbytes": _FETCHED_KB,
                # A second by default, each time that so much is fetched.
                "fetch.queue.backoff.ms": 5,
            }
        )
        # The partitions that were not read to their ends yet.
        self.unread: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}

    def cluster_id(self) -> str:
        """Which cluster this is. Raises KafkaException when it does not answer in time."""
        return self._consumer.list_topics(timeout=_CLUSTER_TIMEOUT_S).cluster_id

    def assign(self, topics: Iterable[str], known: Mapping[TopicPartition, int]) -> None:
        """Read all partitions of these, from the known offsets or else from their beginnings.

        Raises:
            KafkaException: the cluster does not answer in time.
        """
        # Else it learns of their leaders only half a second later.
        self._consumer.list_topics(timeout=_CLUSTER_TIMEOUT_S)
        partitions = partitions_of(self._settings, topics)
        self.unread = set(partitions)
        self._consumer.assign(
            [
                AssignedPartition(*position, known.get(position, OFFSET_BEGINNING))
                for position in partitions
            ]
        )

    def wait(self, timeout_s: float) -> list[Message] | None:
        """The first message, or none at the end of a partition; None when nothing came in time.

        Raises:
            KafkaException: what this reader cannot recover from.
        """
        first = self._consumer.poll(timeout_s)
        return None if first is None else self._messages([first])

    def read(self, count: int, gather_s: float) -> list[Message]:
        """As many messages, or those that come in so many seconds. Raises as `wait`."""
        return self._messages(self._consumer.consume(count, gather_s))

    def take_ends(self) -> dict[TopicPartition, int]:
        """The ends that were reached since this was last called; each counts past what is not
        there to be read, as markers of transactions are not."""
        ends, self._ends = self._ends, {}
        return ends

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def _messages(self, found: list[Message]) -> list[Message]:
        messages = []
        for message in found:
            if (error := message.error()) is None:
                messages.append(message)
            else:
                self._pass_over(error, message)
        return messages

    def _pass_over(self, error: KafkaError, message: Message) -> None:
        """An event in place of a message."""
        if error.code() == KafkaError._PARTITION_EOF:
            position = TopicPartition(str(message.topic()), int(message.partition() or 0))
            self.unread.discard(position)
            self._ends[position] = int(message.offset() or 0)
        elif error.fatal() or (message.topic() is not None and not error.retriable()):
            raise KafkaException(error)
        else:
            log.info("The broker connection reports: %s", error)
