"""Topics of a test on the broker: written, read whole, and the offsets that groups committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.waiting import wait_until

# Of each topic that a test creates.
PARTITIONS = 4
_TIMEOUT_S = 10.0
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
)


class TopicLog:
    """Topics of the broker at `bootstrap`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2})
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    def publish(
        self,
        topic: str,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = 0,
        key: bytes = b"key",
    ) -> None:
        """Append a message, and wait until the broker has it; creates a missing topic."""
        self.create(topic)
        self._producer.produce(topic, value, key, partition, headers=headers)
        assert self._producer.flush(_TIMEOUT_S) == 0

    def create(self, *topics: str) -> None:
        """Create those of the topics that are not there yet."""
        present = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        new = [NewTopic(name, PARTITIONS, 1) for name in topics if name not in present]
        if new:
            for created in self._admin.create_topics(new).values():
                created.result(_TIMEOUT_S)
            wait_until(lambda: self._is_led([topic.topic for topic in new]))

    def _is_led(self, topics: list[str]) -> bool:
        """Return True once the broker serves every partition, a moment after they were created."""
        with self._consumer({"group.id": "tests"}) as consumer:
            try:
                for topic in topics:
                    for partition in _partitions(topic):
                        consumer.get_watermark_offsets(partition, _TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() in _NOT_YET:
                    return False
                raise
        return True

    def messages(self, topic: str) -> list[Message]:
        """Return all messages of a topic."""
        self.create(topic)
        found = []
        with self._consumer({"group.id": "tests", "fetch.wait.max.ms": 10}) as consumer:
            for partition in _partitions(topic):
                _, end = consumer.get_watermark_offsets(partition, _TIMEOUT_S)
                consumer.assign([partition])
                for _ in range(end):
                    message = consumer.poll(_TIMEOUT_S)
                    assert message is not None and message.error() is None, f"{topic}: {message}"
                    found.append(message)
        return found

    def committed(self, group: str, topic: str) -> int:
        """Return the sum of a group's committed offsets over the partitions of a topic."""
        with self._consumer({"group.id": group}) as consumer:
            found = consumer.committed(_partitions(topic), _TIMEOUT_S)
            return sum(max(partition.offset, 0) for partition in found)

    @contextmanager
    def _consumer(self, config: dict[str, object]) -> Iterator[Consumer]:
        consumer = Consumer({"bootstrap.servers": self.bootstrap} | config)
        try:
            yield consumer
        finally:
            consumer.close()


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
