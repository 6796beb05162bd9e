"""End offsets are asked of the broker once for all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as AskedPartition

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.end_offsets import EndOffsets

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Broker:
    """Stands in for confluent-kafka's admin client; the test answers its requests."""

    def __init__(self) -> None:
        self.requests: list[dict[TopicPartition, Future[Any]]] = []
        self.metadata_reads = 0

    def list_offsets(
        self, asked: Iterable[AskedPartition], **_: object
    ) -> dict[AskedPartition, Future[Any]]:
        answers = {where: Future[Any]() for where in asked}
        self.requests.append(
            {TopicPartition(key.topic, key.partition): value for key, value in answers.items()}
        )
        return answers

    def list_topics(self, **_: object) -> None:
        self.metadata_reads += 1

    def answer(self, request: int, offset: int) -> None:
        for future in self.requests[request].values():
            future.set_result(type("Answer", (), {"offset": offset}))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def ends(broker: Broker) -> EndOffsets:
    return EndOffsets(broker, 5.0)  # type: ignore[arg-type]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_ask_together_share_a_request(broker: Broker, ends: EndOffsets) -> None:
    first, second = asyncio.create_task(ends.ask([A])), asyncio.create_task(ends.ask([A, B]))
    await settle()
    assert [set(request) for request in broker.requests] == [{A, B}]
    broker.answer(0, 7)
    assert await first == {A: 7}
    assert await second == {A: 7, B: 7}


async def test_who_asks_during_a_request_gets_the_next_one(
    broker: Broker, ends: EndOffsets
) -> None:
    first = asyncio.create_task(ends.ask([A]))
    await settle()
    late, later = asyncio.create_task(ends.ask([A])), asyncio.create_task(ends.ask([B]))
    await settle()
    assert len(broker.requests) == 1
    broker.answer(0, 7)
    assert await first == {A: 7}
    await settle()
    assert [set(request) for request in broker.requests] == [{A}, {A, B}]
    broker.answer(1, 9)
    assert await late == {A: 9}
    assert await later == {B: 9}


async def test_a_failure_reaches_all_and_refreshes_the_leaders(
    broker: Broker, ends: EndOffsets
) -> None:
    asked = [asyncio.create_task(ends.ask([A])) for _ in range(2)]
    await settle()
    error = KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH))
    broker.requests[0][A].set_exception(error)
    for task in asked:
        with pytest.raises(KafkaUnavailable):
            await task
    assert broker.metadata_reads == 1
    again = asyncio.create_task(ends.ask([A]))
    await settle()
    broker.answer(1, 3)
    assert await again == {A: 3}


async def test_a_caller_that_gives_up_does_not_cancel_the_others(
    broker: Broker, ends: EndOffsets
) -> None:
    first, second = asyncio.create_task(ends.ask([A])), asyncio.create_task(ends.ask([A]))
    await settle()
    first.cancel()
    await asyncio.wait([first])
    broker.answer(0, 4)
    assert await second == {A: 4}
