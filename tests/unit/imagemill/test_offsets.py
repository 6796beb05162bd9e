"""Ordered commits: nothing is committed past a message that is not done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.offsets import OrderedCommits


def test_the_watermark_waits_for_the_oldest() -> None:
    commits = OrderedCommits[str]()
    for offset in (5, 6, 7):
        commits.opened("p", offset)
    commits.done("p", 7)
    commits.done("p", 6)
    assert commits.take() == {}
    commits.done("p", 5)
    assert commits.take() == {"p": 8}
    assert commits.take() == {}
    assert len(commits) == 0


def test_partitions_do_not_wait_for_each_other() -> None:
    commits = OrderedCommits[int]()
    commits.opened(0, 0)
    commits.opened(1, 100)
    commits.done(1, 100)
    assert commits.take() == {1: 101}
    assert len(commits) == 1


def test_gaps_in_the_log_are_passed_over() -> None:
    commits = OrderedCommits[str]()
    commits.opened("p", 3)
    commits.opened("p", 9)
    commits.done("p", 3)
    assert commits.take() == {"p": 4}
    commits.done("p", 9)
    assert commits.take() == {"p": 10}


def test_a_dropped_partition_tells_its_watermark_and_forgets() -> None:
    commits = OrderedCommits[str]()
    commits.opened("p", 0)
    commits.opened("p", 1)
    commits.done("p", 0)
    assert commits.drop("p") == 1
    assert commits.drop("p") is None
    commits.done("p", 1)
    assert commits.take() == {}
    commits.opened("p", 0)
    assert len(commits) == 1


def test_an_offset_may_not_come_twice() -> None:
    commits = OrderedCommits[str]()
    commits.opened("p", 4)
    with pytest.raises(ValueError, match="offset 4 of p came after 4"):
        commits.opened("p", 4)


def test_what_was_never_opened_changes_nothing() -> None:
    commits = OrderedCommits[str]()
    commits.done("p", 0)
    commits.opened("p", 4)
    commits.done("p", 3)
    commits.done("p", 5)
    commits.done("p", 4)
    commits.done("p", 4)
    assert commits.take() == {"p": 5}


@given(st.data(), st.sets(st.integers(0, 60), min_size=1, max_size=30))
def test_in_any_order_the_watermark_is_the_first_not_done(data, offsets: set[int]) -> None:
    commits = OrderedCommits[str]()
    ordered = sorted(offsets)
    for offset in ordered:
        commits.opened("p", offset)
    pending = set(offsets)
    committed = None
    for offset in data.draw(st.permutations(ordered)):
        commits.done("p", offset)
        pending.discard(offset)
        committed = commits.take().get("p", committed)
        done = [other for other in ordered if other < min(pending, default=61)]
        assert committed == (done[-1] + 1 if done else None)
        assert len(commits) == len(ordered) - len(done)
