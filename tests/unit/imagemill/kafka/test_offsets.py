"""Offset tracker: nothing is committed past a message that is not done."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.kafka.offset_set import OffsetSet
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


def test_a_message_received_ahead_does_not_move_the_watermark() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    assert commits.opened("p", 0)
    assert commits.opened_ahead("p", 50)
    assert len(commits) == 2
    commits.done("p", 50)
    assert commits.due() == {"p": 0}, "for its metadata"
    assert 50 in commits.done_beyond("p")
    commits.committed("p", 0)
    assert commits.due() == {}
    commits.done("p", 0)
    assert commits.due() == {"p": 1}


def test_a_message_that_is_done_ahead_is_acked_when_it_is_reached() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    assert commits.opened_ahead("p", 1)
    commits.done("p", 1)
    assert commits.opened("p", 0)
    commits.done("p", 0)
    assert commits.due() == {"p": 1}
    assert not commits.opened("p", 1)
    assert commits.due() == {"p": 2}
    assert not commits.done_beyond("p")


def test_a_message_in_flight_ahead_holds_the_watermark_when_it_is_reached() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    assert commits.opened_ahead("p", 0)
    assert not commits.opened("p", 0)
    assert commits.opened("p", 1)
    commits.done("p", 1)
    assert commits.due() == {"p": 0}
    commits.done("p", 0)
    assert commits.due() == {"p": 2}


def test_a_message_is_received_ahead_once_and_only_ahead() -> None:
    commits = OffsetTracker[str]()
    assert not commits.opened_ahead("p", 5), "the partition is not read"
    commits.start("p", 4)
    assert not commits.opened_ahead("p", 3)
    assert commits.opened_ahead("p", 5)
    assert not commits.opened_ahead("p", 5)
    commits.done("p", 5)
    assert not commits.opened_ahead("p", 5)


def test_a_gap_in_the_log_does_not_lose_a_message_in_flight_ahead() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    assert commits.opened_ahead("p", 3)
    commits.skip_to("p", 8)
    assert commits.due() == {"p": 3}
    commits.done("p", 3)
    assert commits.due() == {"p": 8}


def test_a_done_while_the_commit_is_under_way_is_due_again() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    for offset in (5, 6):
        commits.opened_ahead("p", offset)
    commits.done("p", 5)
    due = commits.due()
    commits.done("p", 6)
    commits.committed("p", due["p"])
    assert commits.due() == {"p": 0}


def test_without_messages_ahead_nothing_beyond_the_watermark_is_kept() -> None:
    commits = OffsetTracker[str]()
    commits.start("p", 0)
    for offset in range(10):
        commits.opened("p", offset)
    commits.done("p", 9)
    assert commits.due() == {}
    assert not commits.done_beyond("p")


@given(st.data(), st.integers(1, 40))
def test_with_crashes_every_message_is_done_and_none_twice_that_was_committed(
    data: st.DataObject, total: int
) -> None:
    """Reads in order, reads ahead, ends and commits in any order; then starts again."""
    done = set[int]()
    committed, beyond = 0, ""
    for _ in range(data.draw(st.integers(1, 4))):
        commits = OffsetTracker[str]()
        commits.start("p", committed, OffsetSet.decode(beyond))
        position, in_flight = committed, set[int]()
        known = {o for o in range(committed, total) if o in OffsetSet.decode(beyond)}
        for step in data.draw(st.lists(st.sampled_from("radc"), max_size=80)):
            if step == "r" and position < total:
                if commits.opened("p", position):
                    assert position not in known
                    in_flight.add(position)
                position += 1
            elif step == "a":
                offset = data.draw(st.integers(0, total - 1))
                if commits.opened_ahead("p", offset):
                    assert offset not in known and offset >= position
                    in_flight.add(offset)
            elif step == "d" and in_flight:
                offset = data.draw(st.sampled_from(sorted(in_flight)))
                in_flight.discard(offset)
                done.add(offset)
                commits.done("p", offset)
            elif step == "c":
                for committed in commits.due().values():
                    beyond = commits.done_beyond("p").encode()
                    commits.committed("p", committed)
                assert set(range(committed)) <= done
                stored = OffsetSet.decode(beyond)
                assert all(offset in done for offset in range(total) if offset in stored)
