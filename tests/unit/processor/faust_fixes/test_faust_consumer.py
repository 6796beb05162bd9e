"""Each fixed defect of Faust's consumer: the stock class shows it, our class does not.

When a test's stock side fails, upstream has fixed the defect and our fix can go. Defects that need
a broker or several processes are in test_log_gaps.py and tests/chaos.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetMetadataTooLargeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from imagemill.kafka.load import LoadMeter
from imagemill.settings import ProcessorSettings
from processor.faust_access import ConsumerAccess
from processor.faust_app import ProcessorApp
from processor.faust_fixes.consumer import HardenedConsumer
from processor.faust_fixes.thread import HardenedConsumerThread
from processor.messages import admission
from tests.support.edge import JOBS, settled
from tests.unit.processor.faust_fixes.faustparts import (
    CHANGELOG,
    OTHER,
    both,
    committed,
    make_consumer,
    make_thread,
    message,
    receive,
)

consumers = both(driver.Consumer, HardenedConsumer)
threads = both(driver.AIOKafkaConsumerThread, HardenedConsumerThread)


@consumers
async def test_offsets_that_were_skipped_are_counted_as_processed(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    await consumer._add_gap(JOBS, 1, 5)
    for offset in (0, 6):
        receive(consumer, message(offset))()
    assert await committed(consumer) == {JOBS: 7 if is_stock else 1}, "1 to 5 were never seen"


@consumers
async def test_acks_of_an_older_generation_are_committed(kind: Any, is_stock: bool) -> None:
    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    consumer.app.consumer_generation_id = 2
    receive(consumer, message(0, generation_id=1))()
    assert await committed(consumer) == ({JOBS: 1} if is_stock else {})


@consumers
async def test_acks_that_come_in_a_later_generation_are_committed(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    ack = receive(consumer, message(0, generation_id=1))
    consumer.app.consumer_generation_id = 2
    ack()
    assert await committed(consumer) == ({JOBS: 1} if is_stock else {})


@consumers
async def test_a_partition_is_not_committed_across_what_the_log_lacks(
    kind: Any, is_stock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first_at(_access: ConsumerAccess, _tp: TP, _offset: int) -> int:
        return 100

    consumer = make_consumer(kind)
    consumer._committed_offset[JOBS] = 12
    monkeypatch.setattr(ConsumerAccess, "first_at", first_at)
    monkeypatch.setattr(admission, "_MIN_SEEK_INTERVAL_S", 0.0)
    consumer.app.admission.start(JOBS, 12)
    if not is_stock:
        for _ in range(2):
            receive(consumer, message(100))
            await settled()
    receive(consumer, message(100))()
    assert await committed(consumer) == ({} if is_stock else {JOBS: 101})


@consumers
async def test_a_commit_that_failed_is_taken_for_done(
    kind: Any, is_stock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failed(_offsets: dict[TP, int]) -> bool:
        return False

    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    receive(consumer, message(0))()
    with monkeypatch.context() as patched:
        patched.setattr(consumer._thread, "commit", failed)
        await consumer.commit()
    assert await committed(consumer) == ({} if is_stock else {JOBS: 1})


@consumers
async def test_acks_that_wait_for_their_commit_are_forgotten_by_a_rebalance(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    receive(consumer, message(0))()
    await consumer.on_partitions_revoked({JOBS, OTHER})
    assert consumer._thread.committed == ([] if is_stock else [{JOBS: 1}])


@consumers
async def test_what_still_runs_is_not_waited_for(kind: Any, is_stock: bool) -> None:
    """Stock can wait for it without a limit (stream_wait_empty); then the whole group waits."""
    consumer = make_consumer(kind)
    consumer.app.admission.start(JOBS, 0)
    consumer.app.revoke_listener.on_revoke = receive(consumer, message(0))
    await consumer.on_partitions_revoked({JOBS, OTHER})
    assert consumer._thread.committed == ([] if is_stock else [{JOBS: 1}])


@consumers
async def test_paused_partitions_are_still_taken_for_buffered_after_a_rebalance(
    kind: Any, is_stock: bool
) -> None:
    """Records of partitions in that set are let through, whether they are active or not."""
    consumer = make_consumer(kind)
    consumer._active_partitions = {JOBS, OTHER}
    consumer.app.in_recovery = False
    consumer.on_buffer_full(JOBS)
    await consumer.on_partitions_revoked({JOBS, OTHER})
    assert consumer._buffered_partitions == ({JOBS} if is_stock else set())


@consumers
async def test_partitions_without_a_commit_are_not_sought_to_their_start(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    consumer._thread.committed_offsets = {OTHER: 7}
    consumer._thread.log_starts = {JOBS: 3}
    await consumer.perform_seek()
    assert consumer._thread.sought == ([(OTHER, 7)] if is_stock else [(OTHER, 7), (JOBS, 3)])
    if not is_stock:
        receive(consumer, message(3))()
        receive(consumer, message(7, tp=OTHER))()
        assert await committed(consumer) == {JOBS: 4, OTHER: 8}, "expected from there on"


async def test_a_commit_says_what_is_done_ahead_and_the_next_seek_reads_it() -> None:
    consumer = make_consumer(HardenedConsumer)
    admission = consumer.app.admission
    admission.start(JOBS, 0)
    admission.done(admission.admit_ahead(message(5), 1))
    assert await committed(consumer) == {JOBS: 0}
    consumer._thread.committed_offsets = {JOBS: 0}
    await consumer.perform_seek()
    assert [offset for offset in range(7) if admission.admit(message(offset))] == [0, 1, 2, 3, 4, 6]


async def test_a_broker_that_takes_no_metadata_gets_the_offsets_alone() -> None:
    thread, _ = make_thread(HardenedConsumerThread)
    sent = []

    class Client:
        def assignment(self) -> set[TP]:
            return {JOBS}

        async def commit(self, commits: Any) -> None:
            sent.append(commits)
            if any(commit.metadata for commit in commits.values()):
                raise OffsetMetadataTooLargeError

    thread._consumer = Client()
    thread.commit_metadata = {JOBS: "much"}
    for _ in range(2):
        assert await thread._commit({JOBS: 3})
    assert [commits[TopicPartition(*JOBS)] for commits in sent] == [(3, "much"), (3, ""), (3, "")]


class Fetcher:
    """Drains a consumer for one round."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()


def _drained(consumer: Any, *messages: Any) -> asyncio.Task[None]:
    """Make the consumer pass on these messages as fetched ones."""
    fetcher = Fetcher()

    async def getmany(timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        for fetched in messages:
            yield JOBS, [fetched] if isinstance(consumer, HardenedConsumer) else fetched
        fetcher._stopped.set()

    consumer.getmany = getmany
    return asyncio.ensure_future(consumer._drain_messages(fetcher))


@consumers
async def test_the_message_in_hand_is_dropped_when_the_flow_stops(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    space, received = asyncio.Event(), []

    async def callback(handed: Any) -> None:
        await space.wait()  # the stream's queue is full
        received.append(handed.offset)

    consumer.callback = callback
    task = _drained(consumer, message(0))
    await asyncio.sleep(0.01)
    consumer.suspend_flow.set()
    await asyncio.sleep(0.01)
    space.set()
    await asyncio.wait_for(task, 2)
    assert received == ([] if is_stock else [0])


@consumers
async def test_messages_of_one_fetch_are_passed_on_singly(kind: Any, is_stock: bool) -> None:
    """Correct, but Faust's way of each message took a third of the CPU of a no-op job."""
    consumer = make_consumer(kind)
    handed, records = [], [message(offset) for offset in (0, 1, 2)]
    fetches = [({JOBS: records, CHANGELOG: records[:2]}, {JOBS, CHANGELOG})]

    async def wait_next_records(timeout: float) -> Any:
        return fetches.pop() if fetches else (None, None)

    async def callback(given: Any) -> None:
        if not fetches:
            fetcher._stopped.set()
        handed.append((given.tp.topic, getattr(given, "value", None)))

    fetcher = Fetcher()
    consumer.app.in_recovery = False
    consumer._wait_next_records = wait_next_records
    consumer._to_message = lambda tp, record: message(record.offset, tp=tp)
    consumer._is_changelog_tp = lambda tp: tp == CHANGELOG
    consumer.callback = callback
    await asyncio.wait_for(consumer._drain_messages(fetcher), 2)
    values = [value for topic, value in handed if topic == JOBS.topic]
    if is_stock:
        assert values == [b"v"] * 3
    else:
        assert [[m.offset for m in value] for value in values] == [[0, 1, 2]]
    assert [value for topic, value in handed if topic == CHANGELOG.topic] == [b"v"] * 2
    assert consumer._read_offset[JOBS] == 2


@pytest.mark.parametrize("partitions", [1, 8, 100])
def test_an_agent_that_waits_stops_its_topic_after_some_messages_and_no_other(
    partitions: int, tmp_path: Path
) -> None:
    """Memory is limited, and the conductor never waits for space, or all topics would wait."""
    app = ProcessorApp(ProcessorSettings(topic_partitions=partitions, home=tmp_path))
    queue = app.FlowControlQueue(maxsize=app.conf.stream_buffer_maxsize)
    reading = {partition: lambda n=partition: n for partition in range(partitions)}
    while reading:
        for partition, drop in list(reading.items()):
            assert not queue.full()
            if queue.put_nowait_enhanced(
                partition, on_pressure_high=lambda: None, on_pressure_drop=drop
            ):
                del reading[partition]
    assert queue.qsize() * app.conf.broker_max_poll_records <= 500 * partitions


@consumers
async def test_a_message_that_waited_through_a_rebalance_hides_what_is_read_again(
    kind: Any, is_stock: bool
) -> None:
    consumer = make_consumer(kind)
    space = asyncio.Event()

    async def callback(_handed: Any) -> None:
        await space.wait()

    consumer.callback = callback
    task = _drained(consumer, message(50, generation_id=1))
    await asyncio.sleep(0.01)
    consumer.app.consumer_generation_id = 2
    consumer._read_offset[JOBS] = 5  # the seek after the rebalance
    space.set()
    await asyncio.wait_for(task, 2)
    assert consumer._read_offset[JOBS] == (50 if is_stock else 5), "5 to 49 would be skipped"


@consumers
async def test_a_partition_named_by_the_client_crashes_the_consumer(
    kind: Any, is_stock: bool
) -> None:
    """Both do; admission gives its messages Faust's own type, whatever theirs is."""
    consumer = make_consumer(kind)
    consumer.app.in_recovery = False
    consumer._active_partitions = {JOBS, TopicPartition("jobs.normal", 1)}
    with pytest.raises(AssertionError):
        consumer._get_active_partitions()


@threads
async def test_partitions_that_become_inactive_on_the_way_mean_all_of_them(
    kind: Any, is_stock: bool
) -> None:
    thread, client = make_thread(kind)
    active = {JOBS}

    async def call_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
        active.clear()  # paused by the main thread meanwhile
        return await function(*args, **kwargs)

    thread.call_thread = call_thread
    await thread.getmany(active, 0.1)
    assert client.asked == [set() if is_stock else {JOBS}], "to aiokafka an empty set means all"


@threads
async def test_nothing_active_means_all_partitions(kind: Any, is_stock: bool) -> None:
    thread, client = make_thread(kind)
    records = await thread.getmany(set(), 0.1)
    assert bool(records) == is_stock
    assert client.asked == ([set()] if is_stock else [])


@threads
async def test_records_of_a_fetch_that_a_seek_overtook_move_the_position_on(
    kind: Any, is_stock: bool
) -> None:
    thread, client = make_thread(kind)

    def seek() -> None:
        thread.consumer.seek_epoch += 1

    client.during_fetch = seek
    records = await thread.getmany({JOBS}, 0.1)
    assert (bool(records), client.sought) == ((True, []) if is_stock else (False, [(JOBS, 8)]))


@threads
async def test_a_seek_from_the_main_thread_comes_into_the_middle_of_a_fetch(
    kind: Any, is_stock: bool
) -> None:
    """It deletes records that the fetch is about to return: KeyError, and the worker crashes."""
    thread, client = make_thread(kind)
    sought_meanwhile = []

    def seek() -> None:
        (thread.seek if is_stock else thread.seek_soon)(JOBS, 5)
        sought_meanwhile.extend(client.sought)

    client.during_fetch = seek
    await thread.getmany({JOBS}, 0.1)
    await asyncio.sleep(0.01)
    assert client.sought == [(JOBS, 5)]
    assert sought_meanwhile == ([(JOBS, 5)] if is_stock else [])


@threads
async def test_a_static_member_that_stops_does_not_leave(kind: Any, is_stock: bool) -> None:
    """With its instance id set aiokafka sends no LeaveGroup; see test_log_gaps.py."""
    thread, client = make_thread(kind)
    await thread.on_thread_stop()
    assert client.left_as == ("w1" if is_stock else None)


async def test_a_rolling_restart_keeps_its_membership() -> None:
    thread, client = make_thread(HardenedConsumerThread, leave_on_stop=False)
    await thread.on_thread_stop()
    assert client.left_as == "w1"


@threads
async def test_fetches_wait_and_hold_each_other_up(kind: Any, is_stock: bool) -> None:
    thread, client = make_thread(kind)
    await thread.on_start()
    waits = (client._fetch_max_wait_ms, client._prefetch_backoff)
    assert waits == ((1500, 0.1) if is_stock else (50, 0.0))


@threads
async def test_every_message_is_fetched_by_itself_however_many_come(
    kind: Any, is_stock: bool
) -> None:
    thread, client = make_thread(kind)
    seconds = itertools.count(0, 0.002)  # two messages each
    thread.load = LoadMeter(clock=lambda: next(seconds))
    for _ in range(60):
        await thread.getmany({JOBS}, 0.1)
    assert client._fetch_min_bytes == (1 if is_stock else 64 << 10)
    if not is_stock:
        assert client._fetch_max_wait_ms == 20
        seconds = itertools.count(1, 1)
        await thread.getmany({JOBS}, 0.1)
        assert (client._fetch_min_bytes, client._fetch_max_wait_ms) == (1, 50)


async def test_nothing_waits_for_more_when_each_message_comes_by_itself() -> None:
    """A client that submits its next job when the last has ended, several hundred a second."""
    thread, client = make_thread(HardenedConsumerThread)
    seconds = itertools.count(0, 0.001)
    thread.load = LoadMeter(clock=lambda: next(seconds))
    waited = 0
    client.offsets = [8]
    for _ in range(4000):
        await thread.getmany({JOBS}, 0.1)
        waited += client._fetch_max_wait_ms == 20
    assert 0 < waited < 10
    client.offsets = [8, 9]
    for _ in range(3000):
        await thread.getmany({JOBS}, 0.1)
    assert client._fetch_max_wait_ms == 20
