"""Room ahead: for owners behind others in the log, bounded for each and for all."""

from __future__ import annotations

from faust.types import TP

from processor.messages.admission import AdmittedMessage
from processor.queues.ahead_room import Budget, Room, Waiting
from processor.queues.priority_queue import PriorityQueue
from schemas.jobs import Priority
from tests.support.edge import Client

LIMIT = 4096


def _room(budget: Budget | None = None, **waiting: tuple[int, int]) -> Room:
    held = {owner: Waiting(total, ahead) for owner, (total, ahead) in waiting.items()}
    return Room.beside(held, LIMIT, budget or Budget.of(LIMIT, 0, 0))


def _taken(room: Room, owner: str, size: int = 1) -> int:
    taken = 0
    while room.wants(owner):
        room.take(owner, size)
        taken += 1
    return taken


def test_there_is_none_in_an_empty_queue_nor_for_an_owner_that_waits_alone() -> None:
    assert _taken(_room(), "a") == 0
    assert _taken(_room(a=(3, 0)), "a") == 0


def test_there_is_room_for_another_owner_behind_a_backlog() -> None:
    room = _room(a=(256, 0))
    assert (_taken(room, "b"), _taken(room, "a")) == (512, 0)


def test_an_owner_whom_the_consumer_feeds_needs_none() -> None:
    room = _room(a=(96, 32), b=(100, 100), c=(7, 0))
    assert (_taken(room, "a"), _taken(room, "b"), _taken(room, "c")) == (0, 412, 505)


def test_it_is_filled_up_when_half_of_it_is_used() -> None:
    assert _taken(_room(a=(256, 0), b=(257, 257)), "b") == 0
    assert _taken(_room(a=(256, 0), b=(256, 256)), "b") == 256


def test_many_owners_share_the_limit_and_each_gets_some() -> None:
    waiting = {f"o{number}": (1, 1) for number in range(1000)}
    room = _room(Budget.of(LIMIT, 1000, 0), **waiting)
    assert (_taken(room, "new"), _taken(room, "o0")) == (16, 15)


def test_it_ends_with_the_limit_of_messages_and_bytes() -> None:
    assert _taken(_room(Budget.of(LIMIT, LIMIT - 10, 0), a=(256, 0)), "b") == 10
    assert _taken(_room(a=(256, 0)), "b", size=4 << 20) == 16


def test_the_queue_counts_what_it_holds_ahead_and_pauses_no_partition_for_it() -> None:
    client, tp = Client(), TP("jobs.normal", 0)
    queue = PriorityQueue(2, client)

    def put(offset: int, owner: str, ahead: bool) -> None:
        headers = [("ce_owner", owner.encode())]
        message = client.message(offset, tp, headers=headers, value=bytes(16 << 20))
        queue.put(Priority.NORMAL, AdmittedMessage(message, tp, 0, ahead))

    put(0, "a", False)
    for offset in range(4):
        assert queue.room_ahead(LIMIT)[Priority.NORMAL].wants("b")
        put(10 + offset, "b", True)
    assert not client.is_paused(tp)
    assert not queue.room_ahead(LIMIT)[Priority.NORMAL].wants("c"), "64 MB are ahead"
    assert not queue.room_ahead(LIMIT)[Priority.HIGH].wants("b")
    for _ in range(2):
        queue.pop()
    assert queue.room_ahead(LIMIT)[Priority.NORMAL].wants("c") is (len(queue) > 0)
    queue.clear()
    put(0, "a", False)
    assert queue.room_ahead(4)[Priority.NORMAL].wants("b")
