"""Offset tracker: nothing is committed past a message that is not done."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.kafka.offsets import OffsetTracker


def test_the_watermark_waits_for_the_oldest() -> None:
    commits = OffsetTracker[str]()
    for offset in (5, 6, 7):
        commits.opened("p", offset)
    commits.done("p", 7)
    commits.done("p", 6)
    assert commits.due() == {}
    assert (len(commits), commits.behind()) == (1, 3)
    commits.done("p", 5)
    assert commits.due() == {"p": 8}
    assert (len(commits), commits.behind()) == (0, 0)


def test_it_is_due_until_it_was_committed() -> None:
    commits = OffsetTracker[str]()
    commits.opened("p", 5)
    commits.done("p", 5)
    assert commits.due() == commits.due() == {"p": 6}
    commits.committed("p", 6)
    assert commits.due() == {}
    commits.opened("p", 6)
    assert commits.due() == {}
    commits.done("p", 6)
    assert commits.due() == {"p": 7}


def test_what_was_done_behind_one_under_way_takes_no_room() -> None:
    commits = OffsetTracker[str]()
    for offset in range(100_000):
        commits.opened("p", offset)
        if offset:
            commits.done("p", offset)
    assert (len(commits), commits.behind()) == (1, 100_000)
    assert len(pickle.dumps(commits)) < 1_000


def test_partitions_do_not_wait_for_each_other() -> None:
    commits = OffsetTracker[int]()
    commits.opened(0, 0)
    commits.opened(1, 100)
    commits.done(1, 100)
    assert commits.due() == {1: 101}
    assert len(commits) == 1


def test_gaps_in_the_log_are_passed_over() -> None:
    commits = OffsetTracker[str]()
    commits.opened("p", 3)
    commits.opened("p", 9)
    commits.done("p", 3)
    assert commits.due() == {"p": 9}
    commits.done("p", 9)
    assert commits.due() == {"p": 10}


def test_offsets_that_the_log_lacks_are_skipped_once_all_before_them_is_done() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 5)
    assert commits.due() == {}
    commits.opened("p", 5)
    commits.skip_to("p", 9)
    assert (commits.due(), commits.in_flight("p")) == ({}, 1)
    commits.done("p", 5)
    assert commits.due() == {"p": 9}
    commits.skip_to("p", 3)
    assert commits.due() == {"p": 9}
    with pytest.raises(ValueError, match="offset 8 of p came after 8"):
        commits.opened("p", 8)


def test_a_partition_that_starts_again_forgets_what_was_in_flight() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 5)
    commits.opened("p", 5)
    commits.start("p", 3)
    assert (commits.due(), commits.in_flight("p"), commits.behind()) == ({}, 0, 0)
    commits.opened("p", 3)
    commits.done("p", 3)
    assert commits.due() == {"p": 4}


def test_a_dropped_partition_tells_its_watermark_and_forgets() -> None:
    commits = OffsetTracker[str]()
    commits.opened("p", 0)
    commits.opened("p", 1)
    commits.done("p", 0)
    assert commits.drop("p") == 1
    assert commits.drop("p") is None
    commits.done("p", 1)
    commits.committed("p", 1)
    assert commits.due() == {}
    commits.opened("p", 0)
    assert len(commits) == 1


def test_an_offset_may_not_come_twice() -> None:
    commits = OffsetTracker[str]()
    commits.opened("p", 4)
    with pytest.raises(ValueError, match="offset 4 of p came after 4"):
        commits.opened("p", 4)


def test_what_was_never_opened_changes_nothing() -> None:
    commits = OffsetTracker[str]()
    commits.done("p", 0)
    commits.opened("p", 4)
    commits.done("p", 3)
    commits.done("p", 5)
    commits.done("p", 4)
    commits.done("p", 4)
    assert commits.due() == {"p": 5}


@given(st.data(), st.sets(st.integers(0, 60), min_size=1, max_size=30))
def test_in_any_order_the_watermark_is_the_first_not_done(data, offsets: set[int]) -> None:
    commits = OffsetTracker[str]()
    ordered = sorted(offsets)
    for offset in ordered:
        commits.opened("p", offset)
    pending = set(offsets)
    committed = None
    for offset in data.draw(st.permutations(ordered)):
        commits.done("p", offset)
        pending.discard(offset)
        for partition, committed in commits.due().items():
            commits.committed(partition, committed)
        first = min(pending, default=ordered[-1] + 1)
        assert committed == (first if first != ordered[0] else None)
        assert len(commits) == len(pending)
