"""In by offset, out by offset, else seek back: on a client that misbehaves as the test wants."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.messages import admission as module
from processor.messages.admission import Admission, AdmittedMessage
from tests.support.edge import JOBS, Client, settled

OTHER = TP("jobs.normal", 1)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Moves the clock of admission forward."""
    moved = [time.monotonic()]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return moved[0]

    monkeypatch.setattr(module, "time", Clock)

    def forward(seconds: float) -> None:
        moved[0] += seconds

    yield forward


def _admit(
    admission: Admission, client: Client, *offsets: int, tp: TP = JOBS
) -> list[AdmittedMessage]:
    messages = [admission.admit(client.message(offset, tp)) for offset in offsets]
    assert None not in messages
    return [admitted for admitted in messages if admitted is not None]


async def _revoke(admission: Admission) -> None:
    admission.close()
    await admission.drain()


async def test_messages_are_admitted_in_the_order_of_their_offsets(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 7)
    assert len(_admit(admission, client, 7, 8, 9)) == 3
    assert not admission.counts


async def test_what_is_done_out_of_order_is_acked_in_order(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    messages = _admit(admission, client, 0, 1, 2, 3)
    for done, acked in ((2, []), (1, []), (0, [0, 1, 2]), (3, [0, 1, 2, 3])):
        admission.done(messages[done])
        assert client.acked == acked


async def test_what_was_committed_is_not_due_again(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    first, second = _admit(admission, client, 0, 1)
    assert admission.due() == {}
    admission.done(first)
    assert admission.due() == admission.due() == {JOBS: 1}
    admission.committed({JOBS: 1})
    assert admission.due() == {}
    admission.done(second)
    assert admission.due() == {JOBS: 2}


async def test_nothing_of_an_older_generation_is_due(client: Client) -> None:
    """Another worker may have read on since: a commit of ours would set its own back."""
    admission = client.admission()
    admission.start(JOBS, 0)
    (admitted,) = _admit(admission, client, 0)
    admission.done(admitted)
    client.generation = 2
    assert admission.due() == {}
    admission.start(JOBS, 7)
    assert admission.due() == {}
    (admitted,) = _admit(admission, client, 7)
    admission.done(admitted)
    assert admission.due() == {JOBS: 8}


async def test_partitions_do_not_wait_for_each_other(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    admission.start(OTHER, 50)
    _admit(admission, client, 0)
    (other,) = _admit(admission, client, 50, tp=OTHER)
    admission.done(other)
    assert client.acked == [50]


async def test_a_hole_is_sought_back_to_once_an_interval(
    client: Client, clock: Callable[[float], None]
) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    _admit(admission, client, 0)
    for offset in (3, 4, 5):
        assert admission.admit(client.message(offset)) is None
    assert client.sought == [(JOBS, 1)], "what was fetched before the seek still arrives"
    clock(1.0)
    assert admission.admit(client.message(6)) is None
    assert client.sought == [(JOBS, 1), (JOBS, 1)]
    assert admission.counts["hole"] == 4
    _admit(admission, client, 1, 2, 3)
    await settled()


async def test_a_hole_with_nothing_behind_it_heals_though_its_topic_is_busy(
    client: Client, clock: Callable[[float], None]
) -> None:
    """A seek may be overtaken by a fetch, and then no further message of the partition comes."""
    admission = client.admission()
    admission.start(JOBS, 0)
    admission.start(OTHER, 0)
    client.partition(JOBS).highwater = 2
    assert admission.admit(client.message(1)) is None
    client.sought.clear()
    watch = asyncio.ensure_future(admission.watch(interval_s=0.001))
    for offset in range(5):
        clock(1.0)
        _admit(admission, client, offset, tp=OTHER)
        await asyncio.sleep(0.01)
    watch.cancel()
    assert (JOBS, 0) in client.sought


async def test_repeats_are_not_admitted_twice(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    _admit(admission, client, 0, 1)
    assert admission.admit(client.message(0)) is None
    assert admission.admit(client.message(1)) is None
    assert (admission.counts["repeated"], client.sought) == (2, [])


async def test_a_partition_that_is_not_ours_admits_nothing(client: Client) -> None:
    admission = client.admission()
    assert admission.admit(client.message(0)) is None
    assert admission.counts["stale"] == 1


async def test_what_was_fetched_in_an_older_generation_is_refused(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    old = client.message(0)
    client.generation = 2
    assert admission.admit(old) is None
    assert client.sought == []
    _admit(admission, client, 0)


async def test_a_message_of_before_a_revoke_is_not_acked_after_it(client: Client) -> None:
    admission = client.admission(grace_s=0.01)
    admission.start(JOBS, 0)
    (admitted,) = _admit(admission, client, 0)
    admission.begin()
    await _revoke(admission)
    admission.start(JOBS, 0)
    admission.done(admitted)
    assert client.acked == []
    assert admission.counts["late"] == 1
    _admit(admission, client, 0)


async def test_a_revoke_waits_for_what_runs(client: Client) -> None:
    admission = client.admission(grace_s=10)
    admission.start(JOBS, 0)
    runs, _waits = _admit(admission, client, 0, 1)
    admission.begin()
    revoke = asyncio.ensure_future(_revoke(admission))
    await settled()
    assert not revoke.done()
    assert admission.admit(client.message(2)) is None, "nothing new is taken on"
    admission.done(runs)
    admission.end()
    await asyncio.wait_for(revoke, 1)
    assert client.acked == [0]


async def test_a_revoke_does_not_wait_longer_than_its_grace(client: Client) -> None:
    admission = client.admission(grace_s=0.01)
    admission.start(JOBS, 0)
    _admit(admission, client, 0)
    admission.begin()
    await asyncio.wait_for(_revoke(admission), 1)
    assert admission.counts["grace_over"] == 1


@pytest.mark.parametrize("reason", ["retention", "markers"])
async def test_offsets_that_the_log_does_not_have_are_passed_over(
    client: Client, clock: Callable[[float], None], reason: str
) -> None:
    admission = client.admission()
    admission.start(JOBS, 5)
    if reason == "retention":
        client.partition(JOBS).log_start = 8
    else:
        client.partition(JOBS).missing = frozenset({5, 6, 7})
    for seek in range(2):
        assert admission.admit(client.message(8)) is None, "never by the first look alone"
        assert client.sought == [(JOBS, 5)] * (seek + 1)
        clock(1.0)
    await settled()
    for admitted in _admit(admission, client, 8, 9):
        admission.done(admitted)
    assert admission.due() == {JOBS: 10}, "commits cross the gap"


async def test_no_offset_that_the_broker_has_is_passed_over(
    client: Client, clock: Callable[[float], None]
) -> None:
    admission = client.admission()
    admission.start(JOBS, 5)
    for _ in range(20):
        clock(1.0)
        assert admission.admit(client.message(6)) is None
        await settled()
    assert set(client.sought) == {(JOBS, 5)}
    _admit(admission, client, 5, 6)


async def test_a_broker_that_cannot_be_asked_is_asked_again(
    client: Client, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_tp: TP, _offset: int) -> int:
        raise ConnectionError("no broker")

    admission = client.admission()
    admission.start(JOBS, 5)
    client.partition(JOBS).log_start = 100
    with monkeypatch.context() as patched:
        patched.setattr(client, "first_at", away)
        for offset in (100, 101):
            admission.admit(client.message(offset))
            await settled()
            clock(1.0)
    admission.admit(client.message(102))
    await settled()
    _admit(admission, client, 100)


async def _watched(admission: Admission, clock: Callable[[float], None], seconds: float) -> None:
    watch = asyncio.ensure_future(admission.watch(interval_s=0.001))
    clock(seconds)
    await asyncio.sleep(0.02)
    watch.cancel()


async def test_a_lost_tail_is_found_without_a_message_behind_it(
    client: Client, clock: Callable[[float], None]
) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    (admitted,) = _admit(admission, client, 0)
    admission.done(admitted)
    client.partition(JOBS).highwater = 3
    await _watched(admission, clock, 4.0)
    assert client.sought[:1] == [(JOBS, 1)]


@pytest.mark.parametrize("excuse", ["paused", "in flight", "read", "rebalance"])
async def test_a_partition_with_an_excuse_has_lost_no_tail(
    client: Client, clock: Callable[[float], None], excuse: str
) -> None:
    admission = client.admission()
    client.rebalancing = excuse == "rebalance"
    admission.start(JOBS, 0)
    client.partition(JOBS).highwater = 3
    client.partition(JOBS).paused = excuse == "paused"
    if excuse == "in flight":
        _admit(admission, client, 0)
    if excuse == "read":
        for admitted in _admit(admission, client, 0, 1, 2):
            admission.done(admitted)
    await _watched(admission, clock, 60.0)
    assert client.sought == []


async def test_a_partition_of_a_busy_topic_may_only_wait_behind_the_others(
    client: Client, clock: Callable[[float], None]
) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    admission.start(OTHER, 0)
    client.partition(JOBS).highwater = 3
    clock(10.0)
    _admit(admission, client, 0, tp=OTHER)
    await _watched(admission, clock, 0.5)
    assert client.sought == []
    clock(25.0)
    _admit(admission, client, 1, tp=OTHER)
    await _watched(admission, clock, 0.5)
    assert client.sought[:1] == [(JOBS, 0)]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_no_misbehaviour_of_the_client_loses_or_repeats_an_offset(seed: int, length: int) -> None:
    """The client drops, repeats and reorders batches; messages are done in any order."""
    rng = random.Random(seed)

    async def run() -> None:
        client = Client()
        admission = client.admission()
        admission.start(JOBS, 0)
        client.partition(JOBS).highwater = length
        seen: list[int] = []
        in_flight: list[AdmittedMessage] = []
        position = 0
        for _ in range(10_000):
            if seen and seen[-1] == length - 1 and not in_flight:
                break
            if client.sought:
                position = client.sought.pop()[1]
            batch = range(position, min(length, position + rng.randint(1, 8)))
            position = batch.stop
            if rng.random() < 0.3:  # lost
                continue
            for offset in batch if rng.random() < 0.8 else rng.sample(batch, len(batch)):
                admitted = admission.admit(client.message(offset))
                if admitted is not None:
                    seen.append(offset)
                    in_flight.append(admitted)
            rng.shuffle(in_flight)
            while in_flight and rng.random() < 0.7:
                admission.done(in_flight.pop())
            for partition in admission._partitions.values():
                partition.sought_at = partition.moved_at = -1e9
            if position >= length:
                admission._seek_back_where_stalled()
            await asyncio.sleep(0)
        assert seen == list(range(length))
        assert client.acked == list(range(length))

    asyncio.run(run())
