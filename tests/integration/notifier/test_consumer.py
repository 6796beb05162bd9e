"""WatermarkConsumer on the broker: pauses, watermarks, partitions that move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Message

from imagemill.kafka.config import consumer_config
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import NotifierSettings
from notifier.kafka.consumer import Release, WatermarkConsumer, place_of
from tests.support.topic_log import TopicLog
from tests.support.waiting import DEADLINE_S

GROUP = "readers"


@pytest.fixture
def topic(settings: NotifierSettings, kafka: TopicLog) -> str:
    name = settings.topic("jobs.results")
    for number in range(5):
        kafka.publish(name, b"%d" % number)
    return name


async def nothing_to_release(_partitions: list[TopicPartition]) -> None:
    """Release partitions without any work on them."""


async def reading(
    settings: NotifierSettings, topic: str, release: Release = nothing_to_release
) -> WatermarkConsumer:
    consumer = WatermarkConsumer(consumer_config(settings, GROUP), release)
    await consumer.subscribe([topic])
    return consumer


async def read(
    consumer: WatermarkConsumer, until: Callable[[list[Message]], bool], capacity: int = 100
) -> list[Message]:
    messages: list[Message] = []
    async with asyncio.timeout(DEADLINE_S):
        while not until(messages):
            messages += await consumer.poll(capacity)
    return messages


async def test_nothing_is_committed_past_a_message_that_is_not_done(
    settings: NotifierSettings, topic: str, kafka: TopicLog
):
    consumer = await reading(settings, topic)
    messages = await read(consumer, lambda got: len(got) == 5)
    assert (consumer.in_flight, consumer.behind) == (5, 5)
    for number in (3, 1, 0):
        consumer.done(*place_of(messages[number]))
    assert (consumer.in_flight, consumer.behind) == (2, 3)
    await consumer.close()
    assert kafka.committed(settings.group(GROUP), topic) == 2


async def test_without_capacity_nothing_is_read_and_later_nothing_is_missing(
    settings: NotifierSettings, topic: str
):
    consumer = await reading(settings, topic)
    messages = await read(consumer, bool, capacity=2)
    for _ in range(3):
        assert await consumer.poll(0) == []
    messages += await read(consumer, lambda got: len(messages + got) == 5, capacity=2)
    assert [message.value() for message in messages] == [b"0", b"1", b"2", b"3", b"4"]
    await consumer.close()


async def test_work_is_released_and_committed_before_another_consumer_reads(
    settings: NotifierSettings, topic: str, kafka: TopicLog
):
    messages: list[Message] = []
    released: list[list[TopicPartition]] = []

    async def finish_work(partitions: list[TopicPartition]) -> None:
        released.append(partitions)
        await asyncio.sleep(0)
        for message in messages:
            consumer.done(*place_of(message))

    consumer = await reading(settings, topic, finish_work)
    messages += await read(consumer, lambda got: len(got) == 5)
    await consumer.close()
    assert [TopicPartition(topic, 0) in partitions for partitions in released] == [True]
    assert kafka.committed(settings.group(GROUP), topic) == 5
