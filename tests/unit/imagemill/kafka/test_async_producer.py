"""The producer that is awaited, against librdkafka's own mock of a broker."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from imagemill.kafka.config import producer_config
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import KafkaSettings
from tests.support.waiting import wait_until_async

_NOBODY = KafkaSettings(_env_file=None, kafka_bootstrap_servers="127.0.0.1:1")
_MOCKED = producer_config(_NOBODY) | {"test.mock.num.brokers": 1}


def producer_threads() -> int:
    return sum(thread.name == "producer" for thread in threading.enumerate())


async def test_all_that_is_sent_at_once_is_delivered() -> None:
    producer = AsyncProducer(_MOCKED)
    async with asyncio.timeout(20):
        await asyncio.gather(*(producer.send("jobs", b"%d" % key, b"v") for key in range(500)))
        await producer.close()


async def test_who_gave_up_waiting_does_not_hold_up_others() -> None:
    producer = AsyncProducer(_MOCKED)
    async with asyncio.timeout(20):
        given_up = asyncio.create_task(producer.send("jobs", b"1", b"v"))
        await asyncio.sleep(0)
        given_up.cancel()
        await producer.send("jobs", b"2", b"v")
        await producer.close()
    assert given_up.cancelled()


async def test_what_no_broker_takes_is_told_to_each_sender() -> None:
    config = producer_config(_NOBODY, delivery_timeout_s=0.2)
    producer = AsyncProducer(config | {"log_level": 0})
    async with asyncio.timeout(20):
        sends = [producer.send("jobs", None, b"v") for _ in range(3)]
        told = await asyncio.gather(*sends, return_exceptions=True)
        await producer.close()
    assert [type(error) for error in told] == [KafkaUnavailable] * 3


async def test_a_message_that_is_too_large_is_refused_at_once() -> None:
    producer = AsyncProducer(_MOCKED)
    with pytest.raises(KafkaUnavailable):
        await producer.send("jobs", None, b"v" * 5_000_000)
    await producer.close()


async def test_many_messages_of_a_moment_share_requests() -> None:
    """librdkafka counts its requests; none of them waits for more messages by itself."""
    told: list[dict] = []
    config = {
        "test.mock.broker.rtt": 3,
        "statistics.interval.ms": 20,
        "stats_cb": lambda text: told.append(json.loads(text)),
    }
    producer = AsyncProducer(_MOCKED | config)

    async def trickle() -> None:
        sends = []
        for _ in range(100):
            sends.append(asyncio.create_task(producer.send("jobs", b"key", b"v")))
            await asyncio.sleep(0.0005)
        await asyncio.gather(*sends)

    async def requests(messages: int) -> int:
        await wait_until_async(lambda: told and told[-1]["txmsgs"] >= messages)
        return sum(broker["req"]["Produce"] for broker in told[-1]["brokers"].values())

    async with asyncio.timeout(20):
        # The pace is known after the first.
        await trickle()
        await trickle()
        before = await requests(200)
        await trickle()
        assert await requests(300) - before < 85
        await producer.close()


async def test_a_closed_producer_leaves_no_thread() -> None:
    before = producer_threads()
    unused, used = AsyncProducer(_MOCKED), AsyncProducer(_MOCKED)
    await used.send("jobs", None, b"v")
    assert producer_threads() == before + 1
    await unused.close()
    await used.close()
    assert producer_threads() == before
