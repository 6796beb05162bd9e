"""Each fixed defect of Faust's recovery, tables, producer and agents.

When a test's stock side fails, upstream has fixed the defect and our fix can go.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import TopicPartition
from faust.tables.recovery import Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from imagemill.kafka.load import LoadMeter
from processor.faust_fixes.recovery import HardenedRecovery
from processor.faust_fixes.table import HardenedTable
from processor.faust_fixes.transport import HardenedProducer
from tests.support.edge import JOBS, settled
from tests.unit.processor.faust_fixes.faustparts import (
    CHANGELOG,
    both,
    ignore,
    make_app,
    make_consumer,
    message,
)

recoveries = both(Recovery, HardenedRecovery)


class RecoveredConsumer:
    """Stands in for the consumer at the end of a recovery; records its calls in order."""

    sought_generation = 1

    def __init__(self) -> None:
        self.done: list[str] = []
        self.position: int | None = None

    def assignment(self) -> set[TP]:
        return {JOBS, CHANGELOG}

    def resume_partitions(self, tps: set[TP]) -> None:
        self.done.append(f"resume {sorted(tp.topic for tp in tps)}")

    async def perform_seek(self) -> None:
        self.done.append("seek")

    def resume_flow(self) -> None:
        self.done.append("flow")

    def read_position(self, _tp: TP) -> int | None:
        return self.position


def make_recovery(kind: Any) -> tuple[Any, RecoveredConsumer]:
    """Make the recovery of an app that is never started."""
    app = make_app()
    consumer = RecoveredConsumer()
    app._consumer = consumer
    app._fetcher = SimpleNamespace(maybe_start=ignore)
    app.flow_control = SimpleNamespace(
        resume=lambda: consumer.done.append("clear queues"), queues=set()
    )
    app.tables._changelog_queue = asyncio.Queue()
    recovery = kind(app, app.tables)
    recovery._is_changelog_tp = lambda tp: tp == CHANGELOG
    return recovery, consumer


@recoveries
async def test_streams_are_resumed_before_they_are_sought_and_cleared(
    kind: Any, is_stock: bool
) -> None:
    """Messages fetched between the resume and the clearing of the queues vanish."""
    recovery, consumer = make_recovery(kind)
    await recovery.on_recovery_completed(generation_id=1)
    resume = "resume ['jobs.normal']"
    assert consumer.done == (
        [resume, "seek", "clear queues", "flow"]
        if is_stock
        else ["seek", "clear queues", resume, "flow"]
    )


@recoveries
async def test_a_step_that_takes_too_long_ends_recovery_without_a_word(
    kind: Any, is_stock: bool
) -> None:
    """Its task ends as if the service was stopped, and nothing restarts the worker."""
    recovery, _ = make_recovery(kind)
    with pytest.raises(ServiceStopped if is_stock else TimeoutError):
        await recovery._wait(asyncio.sleep(5), timeout=0.01)


@recoveries
async def test_a_changelog_without_a_record_at_its_last_offset_is_waited_for_for_ever(
    kind: Any, is_stock: bool
) -> None:
    recovery, consumer = make_recovery(kind)
    recovery.active_highwaters[CHANGELOG] = 9
    recovery.active_offsets[CHANGELOG] = 7
    consumer.position = 10
    recovery._last_active_event_processed_at = -1e9
    assert recovery.need_recovery() == is_stock
    consumer.position = 9
    assert recovery.need_recovery(), "the last record is not read yet"


@both(faust.Table, HardenedTable)
async def test_a_table_sends_its_changelog_without_waiting_for_it(
    kind: Any, is_stock: bool
) -> None:
    app = make_app()
    table = kind(app, name="t", partitions=1, key_type=bytes, value_type=bytes)
    sent = []

    def send_soon(*args: Any, **_kwargs: Any) -> Any:
        sent.append(args)
        return SimpleNamespace(message=SimpleNamespace(partition=0))

    table.partition_for_key = lambda key: 0
    table.send_changelog = send_soon
    table.on_key_set(b"k", b"v")
    table.on_key_del(b"k")
    assert len(sent) == (2 if is_stock else 0)


@both(driver.Producer, HardenedProducer)
async def test_the_producer_is_idempotent_for_exactly_once_only(kind: Any, is_stock: bool) -> None:
    """Without it a retry of the client may write a message twice, or behind a later one."""
    app = make_app()
    settings = kind(app.transport)._settings_extra()
    assert settings.get("enable_idempotence", False) != is_stock


@both(driver.Producer, HardenedProducer)
async def test_a_message_waits_for_others_whether_any_come_or_not(
    kind: Any, is_stock: bool
) -> None:
    app, seconds = make_app(), itertools.count(0, 0.001)
    app.conf.producer_linger = 0.5
    app.transport.load = load = LoadMeter(clock=lambda: next(seconds))
    producer = kind(app.transport)
    producer._producer = producer._new_producer()
    producer._producer.client._wait_on_metadata = ignore
    producer._producer._partition = lambda *_args: 0
    producer._producer._closed = True  # it was never started
    batches = producer._producer._message_accumulator._batches

    async def waits(topic: str) -> bool:
        await producer.send(topic, b"k", b"v", 0, None, [])
        (batch,) = batches[TopicPartition(topic, 0)]
        return bool(batch.remaining_linger())

    assert await waits("first") == is_stock
    while not load.high:
        load.count(2)
    assert await waits("last")


async def test_a_tombstone_is_sent_whether_its_partition_is_known_or_not() -> None:
    app = make_app()
    producer = HardenedProducer(app.transport)
    producer._producer = producer._new_producer()
    producer._producer.client._wait_on_metadata = ignore
    producer._producer._partition = lambda *_args: 0
    producer._producer._closed = True  # it was never started
    for _ in range(2):
        await producer.send("first", b"k", None, 0, None, None)
    (batch,) = producer._producer._message_accumulator._batches[TopicPartition("first", 0)]
    assert batch.record_count == 2


@pytest.mark.parametrize("is_stock", [True, False], ids=["stock", "hardened"])
async def test_an_agent_that_raises_acks_its_message(is_stock: bool) -> None:
    """The ack is in the iterator's `finally`; so agents here take their events by noack()."""
    consumer = make_consumer(driver.Consumer)
    app = consumer.app
    channel = app.channel()
    stream = channel.stream() if is_stock else channel.stream().noack()
    app.flow_control.resume()
    app.topics._acking_topics.add(JOBS.topic)
    handed = message(0)
    handed.incref()

    async def agent() -> None:
        async for _event in stream.events():
            raise RuntimeError("the work failed")

    running = asyncio.ensure_future(agent())
    await asyncio.sleep(0.01)
    stream.channel.queue.put_nowait(faust.Event(app, b"k", b"v", [], handed))
    with pytest.raises(RuntimeError, match="the work failed"):
        await asyncio.wait_for(running, 2)
    del running
    await _collected()
    assert consumer._filter_committable_offsets([JOBS]) == ({JOBS: 1} if is_stock else {})


async def _collected() -> None:
    """Run the `finally` of iterators that are no longer referenced."""
    gc.collect()
    await settled()
