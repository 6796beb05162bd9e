"""The fair queue: shares by weight, nothing idle, nobody starved, no credit for idle time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.queues.fair_queue import FairQueue

Entry = tuple[str, int]
OWNERS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1)


def _filled(weights: dict[str, int], count: int) -> FairQueue[Entry]:
    queue = FairQueue[Entry]()
    for owner, weight in weights.items():
        for number in range(count):
            queue.put(owner, weight, (owner, number))
    return queue


def _pop(queue: FairQueue[Entry], count: int) -> list[Entry]:
    popped = [queue.pop() for _ in range(count)]
    return [entry for entry in popped if entry is not None]


@pytest.mark.parametrize("weights", [{"a": 3, "b": 1}, {"a": 1, "b": 1}, {"a": 7, "b": 2, "c": 1}])
def test_shares_are_in_the_ratio_of_the_weights_within_5_percent(weights: dict[str, int]) -> None:
    started = Counter(owner for owner, _ in _pop(_filled(weights, 1000), 1000))
    for owner, weight in weights.items():
        share = weight / sum(weights.values())
        assert started[owner] / 1000 == pytest.approx(share, rel=0.05)


def test_one_entry_behind_100_000_of_another_owner_is_next() -> None:
    queue = _filled({"a": 1}, 100_000)
    _pop(queue, 10)
    queue.put("b", 1, ("b", 0))
    assert _pop(queue, 1) == [("b", 0)]


def test_a_heavy_owner_does_not_delay_the_first_entry_of_a_light_one() -> None:
    queue = _filled({"heavy": 100}, 1000)
    _pop(queue, 10)
    queue.put("light", 1, ("light", 0))
    assert _pop(queue, 1) == [("light", 0)]


def test_an_owner_that_comes_gets_no_credit_for_the_time_in_which_nothing_of_it_waited() -> None:
    queue = _filled({"a": 1}, 2000)
    _pop(queue, 1000)
    for number in range(1000):
        queue.put("b", 1, ("b", number))
    started = Counter(owner for owner, _ in _pop(queue, 100))
    assert started["b"] in (50, 51), "half of the starts, not those that it missed"


def test_an_owner_of_one_entry_at_a_time_gets_no_more_than_its_share() -> None:
    """Each entry comes when the one before it has started; its queue is always empty then."""
    queue = _filled({"a": 9}, 1000)
    started = Counter[str]()
    for number in range(500):
        if not queue.waiting("b"):
            queue.put("b", 1, ("b", number))
        started.update(owner for owner, _ in _pop(queue, 1))
    assert started["b"] == pytest.approx(50, abs=2)


def test_an_owner_with_ten_jobs_is_served_like_one_with_ten_thousand() -> None:
    queue = _filled({"many": 1}, 10_000)
    for number in range(10):
        queue.put("few", 1, ("few", number))
    started = [owner for owner, _ in _pop(queue, 20)]
    assert started.count("few") == 10


def test_it_remembers_no_owner_that_has_nothing_waiting() -> None:
    queue = _filled({"a": 1}, 5000)
    for number in range(1000):
        queue.put(f"b{number}", 1, ("b", number))
    _pop(queue, 4000)
    assert queue.owners == 1
    assert len(queue._owners) == 1
    _pop(queue, 5000)
    assert (len(queue), queue.pop(), len(queue._owners)) == (0, None, 0)


def test_after_clear_it_is_as_new() -> None:
    queue = _filled({"a": 1, "b": 1}, 5)
    _pop(queue, 3)
    queue.clear()
    assert (len(queue), queue.owners, queue.waiting("a"), queue.pop()) == (0, 0, 0, None)


@given(OWNERS, st.integers(1, 30))
def test_it_is_work_conserving_and_each_owner_is_served_in_order(
    weights: dict[str, int], count: int
) -> None:
    queue = _filled(weights, count)
    total = count * len(weights)
    started = []
    for left in range(total, 0, -1):
        assert len(queue) == left
        started += _pop(queue, 1)
        assert len(started) == total - left + 1, "an entry waits and none started"
    for owner in weights:
        assert [number for name, number in started if name == owner] == list(range(count))


@given(OWNERS, st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=300))
def test_between_two_starts_of_an_owner_that_waits_others_get_their_weights_at_most(
    weights: dict[str, int], steps: list[tuple[str, bool]]
) -> None:
    """The bound of start-time fair queueing, for any arrivals: nobody is starved."""
    queue = _filled({"x": 1}, 400)
    started = []
    for number, (owner, arrives) in enumerate(steps):
        if arrives:
            queue.put(owner, weights.get(owner, 1), (owner, number))
        started += [owner for owner, _ in _pop(queue, 1)]
    starts = [place for place, owner in enumerate(started) if owner == "x"]
    most = 1 + sum(weights.get(owner, 1) + 1 for owner in "abcdef")
    assert all(later - earlier <= most for earlier, later in pairwise(starts))
