"""librdkafka's own mock broker, in this process: topics and consumer groups in memory.

Unit tests use it with the real clients. It starts in milliseconds; a consumer that joins a group
gets its partitions after 3 s, as the mock delays the first rebalance by that much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from confluent_kafka import Consumer, Message, Producer, TopicPartition

# The mock creates a topic with so many partitions when a client first names it.
PARTITIONS = 4
_TIMEOUT_S = 10.0


class MockBroker:
    """A running mock broker; `bootstrap` is its address."""

    def __init__(self, producer: Producer) -> None:
        """`producer` was created with `test.mock.num.brokers`, and owns the broker."""
        self._producer = producer
        brokers = producer.list_topics(timeout=_TIMEOUT_S).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def publish(
        self,
        topic: str,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = 0,
    ) -> None:
        """Append a message, and wait until the broker has it."""
        self._producer.produce(topic, value, b"key", partition, headers=headers)
        assert self._producer.flush(_TIMEOUT_S) == 0

    def create(self, topic: str) -> None:
        """Create a topic, if it is not there yet."""
        self._producer.list_topics(topic, _TIMEOUT_S)

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


@cache
def mock_broker() -> MockBroker:
    """Start the mock broker of this process.

    It ends with the process only: clients that a test has closed log errors when it ends earlier.
    """
    return MockBroker(
        Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 2})
    )
