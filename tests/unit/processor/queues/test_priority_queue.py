"""The priority queue: order, fairness, and pauses of partitions."""

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
    """Records the pauses of partitions."""

    def __init__(self) -> None:
        self.paused: set[TP] = set()
        self.pauses: Counter[TP] = Counter()

    def pause(self, tp: TP) -> None:
        self.paused.add(tp)
        self.pauses[tp] += 1

    def resume(self, tp: TP) -> None:
        self.paused.discard(tp)


def _queue(prefetch: int = 32) -> tuple[PriorityQueue, Partitions]:
    partitions = Partitions()
    return PriorityQueue(prefetch, partitions), partitions


def _admitted(
    offset: int, priority: Priority, partition: int = 0, owner: str = "", weight: int = 1
) -> AdmittedMessage:
    tp = TP(TPS[priority].topic, partition)
    headers = [("ce_owner", owner.encode()), ("ce_weight", str(weight).encode())]
    return AdmittedMessage(Client().message(offset, tp, headers=headers), tp, 0)


def _offsets(queue: PriorityQueue, count: int) -> list[tuple[str, int]]:
    started = [queue.pop() for _ in range(count)]
    return [(each.tp.topic, each.message.offset) for each in started if each is not None]


def test_high_starts_before_normal_before_low() -> None:
    queue, _ = _queue()
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        for offset in (0, 1):
            queue.put(priority, _admitted(offset, priority))
    assert len(queue) == 6
    assert _offsets(queue, 7) == [
        ("jobs.high", 0),
        ("jobs.high", 1),
        ("jobs.normal", 0),
        ("jobs.normal", 1),
        ("jobs.low", 0),
        ("jobs.low", 1),
    ]


def test_low_jobs_are_slow_under_load_but_never_starved() -> None:
    queue, _ = _queue(prefetch=10_000)
    for offset in range(1000):
        queue.put(Priority.HIGH, _admitted(offset, Priority.HIGH))
        queue.put(Priority.LOW, _admitted(offset, Priority.LOW))
    started = Counter(topic for topic, _ in _offsets(queue, 160))
    assert started == {"jobs.high": 150, "jobs.low": 160 // FAIR_EVERY}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(list(Priority)), max_size=60))
def test_everything_starts_once_and_in_order_within_its_priority(order: list[Priority]) -> None:
    queue, _ = _queue()
    for offset, priority in enumerate(order):
        queue.put(priority, _admitted(offset, priority))
    started = _offsets(queue, len(order) + 1)
    assert sorted(offset for _, offset in started) == list(range(len(order)))
    for priority in Priority:
        mine = [offset for topic, offset in started if topic == f"jobs.{priority}"]
        assert mine == sorted(mine)


def test_owners_share_the_starts_of_a_priority_by_weight() -> None:
    queue, _ = _queue(prefetch=1000)
    for offset in range(400):
        queue.put(Priority.NORMAL, _admitted(offset, Priority.NORMAL, owner="a", weight=3))
    for offset in range(400, 800):
        queue.put(Priority.NORMAL, _admitted(offset, Priority.NORMAL, owner="b"))
    first = [offset for _, offset in _offsets(queue, 400)]
    assert sum(offset < 400 for offset in first) == 300


def test_a_high_job_overtakes_every_owner_of_a_lower_priority() -> None:
    queue, _ = _queue()
    queue.put(Priority.NORMAL, _admitted(0, Priority.NORMAL, owner="a", weight=100))
    queue.put(Priority.HIGH, _admitted(1, Priority.HIGH, owner="b"))
    queue.put(Priority.HIGH, _admitted(2, Priority.HIGH, owner="b"))
    assert [topic for topic, _ in _offsets(queue, 3)] == ["jobs.high", "jobs.high", "jobs.normal"]


def test_a_full_partition_pauses_alone_and_goes_on_at_half() -> None:
    queue, partitions = _queue(prefetch=4)
    for offset in range(4):
        queue.put(Priority.LOW, _admitted(offset, Priority.LOW))
        queue.put(
            Priority.LOW, _admitted(offset, Priority.LOW, partition=1)
        ) if offset < 2 else None
    assert partitions.paused == {TPS[Priority.LOW]}
    _offsets(queue, 2)
    assert partitions.paused == {TPS[Priority.LOW]}, "three are still held"
    _offsets(queue, 2)
    assert partitions.paused == set()


def test_a_long_low_queue_does_not_pause_the_high_one() -> None:
    queue, partitions = _queue(prefetch=8)
    for offset in range(50):
        queue.put(Priority.LOW, _admitted(offset, Priority.LOW))
    queue.put(Priority.HIGH, _admitted(0, Priority.HIGH))
    assert partitions.paused == {TPS[Priority.LOW]}
    assert _offsets(queue, 1) == [("jobs.high", 0)]


def test_after_a_revoke_nothing_is_held() -> None:
    queue, partitions = _queue(prefetch=2)
    for offset in range(2):
        queue.put(Priority.HIGH, _admitted(offset, Priority.HIGH))
    queue.clear()
    partitions.paused.clear()
    assert (len(queue), queue.pop()) == (0, None)
    queue.put(Priority.HIGH, _admitted(0, Priority.HIGH))
    assert partitions.paused == set(), "what was held before does not count"


async def test_slots_wait_for_work_and_each_takes_its_own() -> None:
    queue, _ = _queue()
    slots = [asyncio.ensure_future(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.put(Priority.LOW, _admitted(1, Priority.LOW))
    queue.put(Priority.HIGH, _admitted(2, Priority.HIGH))
    done, waiting = await asyncio.wait(slots, timeout=0.2)
    assert sorted(slot.result().message.offset for slot in done) == [1, 2]
    queue.put(Priority.NORMAL, _admitted(3, Priority.NORMAL))
    (last,) = waiting
    assert (await asyncio.wait_for(last, 1)).message.offset == 3
