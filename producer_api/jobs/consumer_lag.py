"""How far the processors are behind the priority topics."""

from __future__ import annotations

import asyncio

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.kafka.topics import admin
from imagemill.settings import ApiSettings
from producer_api.read_model.read_model import ReadModel
from schemas.topics import PRIORITY_TOPICS

_GROUP = "processor"


class ConsumerLag:
    """Compares the ends of the priority topics with what the processors have committed."""

    def __init__(self, settings: ApiSettings, projection: ReadModel) -> None:
        self._group = settings.group(_GROUP)
        self._names = {
            settings.topic(topic.name): priority.value
            for priority, topic in PRIORITY_TOPICS.items()
        }
        self._timeout_s = settings.catch_up_timeout_s
        self._projection = projection
        self._admin = admin(settings)

    async def by_priority(self) -> dict[str, int]:
        """Messages not yet done, for each priority.

        Raises:
            KafkaUnavailable: the broker did not answer.
        """
        ends = await self._projection.ends()
        committed = await self._committed()
        lag = dict.fromkeys(self._names.values(), 0)
        for where, end in ends.items():
            if where.topic in self._names:
                lag[self._names[where.topic]] += end - committed.get(where, 0)
        return lag

    async def _committed(self) -> dict[TopicPartition, int]:
        request = ConsumerGroupTopicPartitions(self._group)
        try:
            (answer,) = self._admin.list_consumer_group_offsets(
                [request], request_timeout=self._timeout_s
            ).values()
            found = await asyncio.wrap_future(answer)
        except KafkaException as error:
            raise KafkaUnavailable(f"the offsets of {self._group} are unknown: {error}") from error
        return {
            TopicPartition(where.topic, where.partition): where.offset
            for where in found.topic_partitions
            if where.offset >= 0
        }
