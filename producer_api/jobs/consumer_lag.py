"""The lag of the processors behind the ends of the priority topics."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import TopicPartition as AskedPartition
from confluent_kafka.admin import OffsetSpec

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.kafka.topics import admin
from imagemill.settings import ApiSettings
from producer_api.read_model.read_model import ReadModel
from schemas.topics import PRIORITY_TOPICS

_GROUP = "processor"
_Offsets = Mapping[TopicPartition, int]


class ConsumerLag:
    """Compares the ends of the priority topics with the offsets that the processors committed."""

    def __init__(self, settings: ApiSettings, read_model: ReadModel) -> None:
        self._group = settings.group(_GROUP)
        self._names = {
            settings.topic(topic.name): priority.value
            for priority, topic in PRIORITY_TOPICS.items()
        }
        self._timeout_s = settings.catch_up_timeout_s
        self._read_model = read_model
        self._admin = admin(settings)

    async def by_priority(self) -> dict[str, int]:
        """Return the messages that are not processed yet, for each priority.

        Raises:
            KafkaUnavailable: the broker did not answer.
        """
        ends = await self._read_model.end_offsets()
        ends = {where: end for where, end in ends.items() if where.topic in self._names}
        try:
            starts, committed = await asyncio.gather(self._starts(ends), self._committed())
        except KafkaException as error:
            raise KafkaUnavailable(f"the offsets of {self._group} are unknown: {error}") from error
        lag = dict.fromkeys(self._names.values(), 0)
        for where, messages in lag_of(ends, starts, committed).items():
            lag[self._names[where.topic]] += messages
        return lag

    async def _starts(self, partitions: Collection[TopicPartition]) -> _Offsets:
        asked = {AskedPartition(*where): OffsetSpec.earliest() for where in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=self._timeout_s)
        return {
            TopicPartition(where.topic, where.partition): (await asyncio.wrap_future(answer)).offset
            for where, answer in answers.items()
        }

    async def _committed(self) -> _Offsets:
        (answer,) = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._group)], request_timeout=self._timeout_s
        ).values()
        found = await asyncio.wrap_future(answer)
        return {
            TopicPartition(where.topic, where.partition): where.offset
            for where in found.topic_partitions
            if where.offset >= 0
        }


def lag_of(ends: _Offsets, starts: _Offsets, committed: _Offsets) -> dict[TopicPartition, int]:
    """Return the messages of each partition from the offset that a consumer goes on from.

    That is the partition's start where nothing is committed, where the retention has removed what
    was committed, and where the topic was created again since and is shorter.
    """
    lag = {}
    for where, end in ends.items():
        offset = committed.get(where, -1)
        if not starts[where] <= offset <= end:
            offset = starts[where]
        lag[where] = end - offset
    return lag
