"""Reads all partitions of some topics to their ends and on, without a consumer group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as AssignedPartition
from confluent_kafka.cimpl import Message

from imagemill.kafka.config import consumer_config
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import ApiSettings
from producer_api.read_model.partitions import partitions_in

log = logging.getLogger(__name__)

# The name that ACLs grant; nothing is committed under it.
_GROUP = "api-projection"
_METADATA_TIMEOUT_S = 5.0
# Messages fetched ahead of what was read, in KB.
_MAX_FETCHED_KB = 32 * 1024


class TopicReader:
    """The messages of some topics, for one thread; `assign` before use, `close` at the end."""

    def __init__(self, settings: ApiSettings) -> None:
        self._consumer = Consumer(
            consumer_config(settings, _GROUP)
            | {
                "enable.partition.eof": True,
                "fetch.error.backoff.ms": 100,
                "queued.max.messages.kbytes": _MAX_FETCHED_KB,
                # Pause after that much was fetched; the default of 1 s would stop a rebuild.
                "fetch.queue.backoff.ms": 5,
            }
        )
        self.unread: set[TopicPartition] = set()
        """Partitions that were not read to their ends since `assign`."""
        self._ends: dict[TopicPartition, int] = {}

    def assign(self, topics: Iterable[str], offsets: Mapping[TopicPartition, int]) -> None:
        """Read all partitions of these topics, from the given offsets or else from the beginning.

        Raises:
            KafkaException: the cluster does not answer in time, or lacks a topic.
        """
        # Without metadata, librdkafka asks for the partitions' leaders half a second later.
        cluster = self._consumer.list_topics(timeout=_METADATA_TIMEOUT_S)
        partitions = partitions_in(cluster, topics)
        self.unread = set(partitions)
        self._consumer.assign(
            [
                AssignedPartition(*where, offsets.get(where, OFFSET_BEGINNING))
                for where in partitions
            ]
        )

    def wait(self, timeout_s: float) -> list[Message] | None:
        """Return the next message; none at a partition's end; None when nothing came in time.

        Raises:
            KafkaException: an error that reading on does not mend.
        """
        first = self._consumer.poll(timeout_s)
        return None if first is None else self._messages([first])

    def read(self, count: int, timeout_s: float) -> list[Message]:
        """Return `count` messages, or as many as come in that time. Raises as `wait`."""
        return self._messages(self._consumer.consume(count, timeout_s))

    def take_ends(self) -> dict[TopicPartition, int]:
        """Return the ends reached since the last call, as offsets to read next.

        They count past transaction markers, which are never read as messages.
        """
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
                self._handle(error, message)
        return messages

    def _handle(self, error: KafkaError, message: Message) -> None:
        """Handle an event that comes in place of a message."""
        if error.code() == KafkaError._PARTITION_EOF:
            where = TopicPartition(str(message.topic()), int(message.partition() or 0))
            self.unread.discard(where)
            self._ends[where] = int(message.offset() or 0)
        elif error.fatal() or (message.topic() is not None and not error.retriable()):
            raise KafkaException(error)
        else:
            log.info("The broker connection reports: %s", error)
