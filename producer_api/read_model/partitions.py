"""The partitions that the feed reads, in the number that the cluster has of each topic.

Topics of one partition had the number of the setting in earlier versions, and keep it: the number
is asked of the cluster. It is read once, since a topic that grows moves its keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.partitions import partition_of
from imagemill.kafka.topic_partition import TopicPartition

_TIMEOUT_S = 5.0


def partitions_in(cluster: ClusterMetadata, topics: Iterable[str]) -> list[TopicPartition]:
    """Return all partitions that these topics have in the cluster.

    Raises:
        KafkaException: it lacks a topic, or one that was just created has no partition yet.
    """
    found = []
    for topic in topics:
        known = cluster.topics.get(topic)
        if known is None or not known.partitions:
            missing = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{topic} has no partitions")
            raise KafkaException((known and known.error) or missing)
        found += [TopicPartition(topic, number) for number in sorted(known.partitions)]
    return found


class ReadPartitions:
    """The partitions of the topics that are read; the feed's thread and the loop share it."""

    def __init__(self, admin: AdminClient, topics: Iterable[str]) -> None:
        self._admin = admin
        self._topics = tuple(topics)
        # Replaced, never changed: the loop and the feed's thread use it without a lock.
        self._known: list[TopicPartition] = []
        self._asking: asyncio.Task[list[TopicPartition]] | None = None

    def refresh(self) -> list[TopicPartition]:
        """Ask the cluster, and return what it has now. For a thread other than the loop's.

        Raises:
            KafkaException: it does not answer in time, or lacks a topic.
        """
        self._known = partitions_in(self._admin.list_topics(timeout=_TIMEOUT_S), self._topics)
        return self._known

    async def all(self) -> list[TopicPartition]:
        """Return all partitions; the cluster is asked while they are unknown.

        Raises:
            KafkaUnavailable: it does not answer in time, or lacks a topic.
        """
        if self._known:
            return self._known
        # One request for all callers: each takes a thread for as long as the broker is away.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self.refresh))
            self._asking.add_done_callback(_retrieve)
        try:
            return await asyncio.shield(self._asking)
        except KafkaException as error:
            raise KafkaUnavailable(f"the partitions of the topics are unknown: {error}") from error

    async def of_keys(self, keys: Collection[str]) -> list[TopicPartition]:
        """Return the partitions where messages with those keys can be. Raises as `all`."""
        partitions = await self.all()
        counts: dict[str, int] = {}
        for where in partitions:
            counts[where.topic] = counts.get(where.topic, 0) + 1
        # Most topics have the same number, and the hash is computed in Python.
        numbers = {
            count: {partition_of(key.encode(), count) for key in keys}
            for count in set(counts.values())
        }
        return [where for where in partitions if where.partition in numbers[counts[where.topic]]]


def _retrieve(task: asyncio.Task[list[TopicPartition]]) -> None:
    """Mark the exception as retrieved: all callers may have gone."""
    if not task.cancelled():
        task.exception()
