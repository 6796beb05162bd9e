"""The scan of a partition: messages are taken once, in their owner's order, and none is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.scout import partition_scan
from processor.scout.partition_scan import PartitionScan


@pytest.fixture(autouse=True, scope="module")
def _short_distances() -> Iterator[None]:
    """Make logs of some dozen messages long ones."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(partition_scan, "_NEAR_OFFSETS", 3)
        yield


def _read(scan: PartitionScan, log: str, wanted: str, count: int = 1000) -> list[int]:
    """Read on to the end of the log, `count` messages at most; return the offsets taken."""
    span = range(scan.position, min(len(log), scan.position + count))
    return [offset for offset in span if scan.offer(log[offset], offset, wanted.__contains__)]


def test_it_takes_what_is_wanted_on_the_way_to_the_end() -> None:
    scan = PartitionScan(0)
    log = "aabaacaab"
    assert _read(scan, log, "bc") == [2, 5, 8]
    assert (scan.position, scan.frontier, scan.skipped_from) == (9, 9, {"a": 0})


def test_it_remembers_one_offset_of_an_owner_however_many_messages_it_skips() -> None:
    scan = PartitionScan(0)
    assert _read(scan, "a" * 900 + "b" * 100, "") == []
    assert scan.skipped_from == {"a": 0, "b": 900}


def test_it_comes_back_for_what_it_skipped_and_goes_on_at_the_end() -> None:
    scan = PartitionScan(0)
    log = "a" * 10 + "b" * 20
    _read(scan, log, "")
    assert scan.next_seek(0, "b".__contains__, may_begin=True) == 10
    assert _read(scan, log, "b", count=4) == [10, 11, 12, 13]
    assert scan.next_seek(0, "b".__contains__, may_begin=True) is None, "not done yet"
    assert scan.next_seek(0, "".__contains__, may_begin=True) == 30, "nobody wants more"
    assert scan.next_seek(0, "b".__contains__, may_begin=False) is None
    assert scan.next_seek(0, "b".__contains__, may_begin=True) == 14
    assert _read(scan, log, "b") == list(range(14, 30))
    assert scan.skipped_from == {"a": 0}
    assert not scan.in_pass


def test_an_owner_s_new_message_waits_for_its_skipped_ones() -> None:
    scan = PartitionScan(0)
    _read(scan, "aab", "")
    assert _read(scan, "aabab", "ab") == []
    assert scan.next_seek(0, "ab".__contains__, may_begin=True) == 0
    assert _read(scan, "aabab", "ab") == [0, 1, 2, 3, 4]


def test_what_the_consumer_has_read_itself_is_not_sought() -> None:
    log = "a" * 10 + "b"
    scan = PartitionScan(0)
    _read(scan, log, "b")
    assert scan.next_seek(7, "a".__contains__, may_begin=True) == 7
    scan = PartitionScan(0)
    _read(scan, log, "b")
    assert scan.next_seek(11, "a".__contains__, may_begin=True) is None
    assert scan.skipped_from == {}


def test_it_follows_a_consumer_that_is_far_ahead() -> None:
    scan = PartitionScan(0)
    assert scan.next_seek(3, "".__contains__, may_begin=True) is None
    assert scan.next_seek(50, "".__contains__, may_begin=True) == 50
    assert scan.offer("b", 50, "b".__contains__)


def test_a_message_from_before_a_seek_is_ignored() -> None:
    scan = PartitionScan(5)
    assert not scan.offer("b", 4, "b".__contains__)
    assert scan.position == 5


@given(st.data(), st.text("abc", max_size=60))
def test_in_any_order_each_is_taken_once_in_its_owner_s_order_and_none_is_missed(
    data: st.DataObject, log: str
) -> None:
    """The consumer reads on and owners are wanted or not, as the example has it."""
    scan, expected, end = PartitionScan(0), 0, 0
    taken: dict[str, list[int]] = {owner: [] for owner in "abc"}

    def turn(wanted: Callable[[str], bool], count: int) -> None:
        scan.next_seek(expected, wanted, may_begin=True)  # it sets the position itself
        for offset in range(scan.position, min(end, scan.position + count)):
            owner = log[offset]
            if scan.offer(owner, offset, wanted):
                before = [o for o in range(expected, offset) if log[o] == owner]
                assert set(before) <= set(taken[owner]), "it overtook its owner's own message"
                taken[owner].append(offset)

    for _ in range(data.draw(st.integers(0, 40))):
        end = data.draw(st.integers(end, len(log)))
        expected = data.draw(st.integers(expected, min(expected + 5, end)))
        turn(data.draw(st.sampled_from(["", "a", "b", "ab", "abc"])).__contains__, 7)
    end = len(log)
    for _ in range(40):
        turn("abc".__contains__, 100)
    found = sorted(offset for offsets in taken.values() for offset in offsets)
    assert len(found) == len(set(found))
    assert set(range(expected, end)) <= set(found)
