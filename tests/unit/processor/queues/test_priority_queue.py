"""What starts next, and which partitions are fetched: order, fairness, pauses."""

from __future__ import annotations

import asyncio
from collections import Counter

from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.messages.admission import AdmittedMessage
from processor.queues.priority_queue import FAIR_EVERY, PriorityQueue
from schemas.jobs import Priority
from tests.support.edge import Client

TPS = {priority: TP(f"jobs.{priority}", 0) for priority in Priority}


class Partitions:
    """Which partitions are fetched from."""

    def __init__(self) -> None:
        self.paused: set[TP] = set()
        self.pauses: Counter[TP] = Counter()

    def pause(self, tp: TP) -> None:
        self.paused.add(tp)
        self.pauses[tp] += 1

    def resume(self, tp: TP) -> None:
        self.paused.discard(tp)


def _gate(lane_size: int = 32) -> tuple[PriorityQueue, Partitions]:
    partitions = Partitions()
    return PriorityQueue(lane_size, partitions.pause, partitions.resume), partitions


def _entry(offset: int, priority: Priority, partition: int = 0) -> AdmittedMessage:
    tp = TP(TPS[priority].topic, partition)
    return AdmittedMessage(Client().message(offset, tp), tp, 0)


def _offsets(gate: PriorityQueue, count: int) -> list[tuple[str, int]]:
    entries = [gate.pop() for _ in range(count)]
    return [(entry.tp.topic, entry.message.offset) for entry in entries if entry is not None]


def test_high_starts_before_normal_before_low() -> None:
    gate, _ = _gate()
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        for offset in (0, 1):
            gate.put(priority, _entry(offset, priority))
    assert len(gate) == 6
    assert _offsets(gate, 7) == [
        ("jobs.high", 0),
        ("jobs.high", 1),
        ("jobs.normal", 0),
        ("jobs.normal", 1),
        ("jobs.low", 0),
        ("jobs.low", 1),
    ]


def test_low_jobs_are_slow_under_load_but_never_starved() -> None:
    gate, _ = _gate(lane_size=10_000)
    for offset in range(1000):
        gate.put(Priority.HIGH, _entry(offset, Priority.HIGH))
        gate.put(Priority.LOW, _entry(offset, Priority.LOW))
    started = Counter(topic for topic, _ in _offsets(gate, 160))
    assert started == {"jobs.high": 150, "jobs.low": 160 // FAIR_EVERY}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(list(Priority)), max_size=60))
def test_everything_starts_once_and_in_order_within_its_priority(order: list[Priority]) -> None:
    gate, _ = _gate()
    for offset, priority in enumerate(order):
        gate.put(priority, _entry(offset, priority))
    started = _offsets(gate, len(order) + 1)
    assert sorted(offset for _, offset in started) == list(range(len(order)))
    for priority in Priority:
        mine = [offset for topic, offset in started if topic == f"jobs.{priority}"]
        assert mine == sorted(mine)


def test_a_full_partition_pauses_alone_and_goes_on_at_half() -> None:
    gate, partitions = _gate(lane_size=4)
    for offset in range(4):
        gate.put(Priority.LOW, _entry(offset, Priority.LOW))
        gate.put(Priority.LOW, _entry(offset, Priority.LOW, partition=1)) if offset < 2 else None
    assert partitions.paused == {TPS[Priority.LOW]}
    _offsets(gate, 2)
    assert partitions.paused == {TPS[Priority.LOW]}, "three are still held"
    _offsets(gate, 2)
    assert partitions.paused == set()


def test_a_long_low_queue_does_not_pause_the_high_one() -> None:
    gate, partitions = _gate(lane_size=8)
    for offset in range(50):
        gate.put(Priority.LOW, _entry(offset, Priority.LOW))
    gate.put(Priority.HIGH, _entry(0, Priority.HIGH))
    assert partitions.paused == {TPS[Priority.LOW]}
    assert _offsets(gate, 1) == [("jobs.high", 0)]


def test_after_a_revoke_nothing_is_held() -> None:
    gate, partitions = _gate(lane_size=2)
    for offset in range(2):
        gate.put(Priority.HIGH, _entry(offset, Priority.HIGH))
    gate.clear()
    partitions.paused.clear()
    assert (len(gate), gate.pop()) == (0, None)
    gate.put(Priority.HIGH, _entry(0, Priority.HIGH))
    assert partitions.paused == set(), "what was held before does not count"


async def test_slots_wait_for_work_and_each_takes_its_own() -> None:
    gate, _ = _gate()
    slots = [asyncio.ensure_future(gate.take()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.put(Priority.LOW, _entry(1, Priority.LOW))
    gate.put(Priority.HIGH, _entry(2, Priority.HIGH))
    done, waiting = await asyncio.wait(slots, timeout=0.2)
    assert sorted(slot.result().message.offset for slot in done) == [1, 2]
    gate.put(Priority.NORMAL, _entry(3, Priority.NORMAL))
    (last,) = waiting
    assert (await asyncio.wait_for(last, 1)).message.offset == 3
