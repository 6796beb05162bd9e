"""The set of offsets: like a set of numbers, and whole again after a commit's metadata."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.kafka.offset_set import MAX_METADATA_CHARS, OffsetSet

OFFSETS = st.lists(st.integers(0, 300) | st.integers(10**12, 10**12 + 300), max_size=40)
NEAR = st.lists(st.integers(1000, 1400), max_size=60)


def _set_of(offsets: list[int]) -> OffsetSet:
    found = OffsetSet()
    for offset in offsets:
        found.add(offset)
    return found


def _members(found: OffsetSet, span: range) -> list[int]:
    return [offset for offset in span if offset in found]


@given(NEAR, st.integers(990, 1410))
def test_it_has_what_was_added_and_not_forgotten(offsets: list[int], below: int) -> None:
    found = _set_of(offsets)
    assert _members(found, range(980, 1420)) == sorted(set(offsets))
    found.forget_below(below)
    kept = {offset for offset in offsets if offset >= below}
    assert _members(found, range(980, 1420)) == sorted(kept)
    assert (len(found), bool(found)) == (len(kept), bool(kept))
    found.add(1200)
    assert 1200 in found


@given(NEAR)
def test_it_comes_back_from_a_commit_s_metadata(offsets: list[int]) -> None:
    again = OffsetSet.decode(_set_of(offsets).encode())
    assert _members(again, range(980, 1420)) == sorted(set(offsets))


def test_one_offset_a_million_behind_the_first_is_a_few_characters_and_kilobytes() -> None:
    found = _set_of([7, 1_000_007])
    assert len(found._bits) < 126_000
    assert len(found.encode()) < 500


def test_a_run_of_100_000_offsets_is_a_few_characters() -> None:
    assert len(_set_of(list(range(50_000, 150_000))).encode()) < 200


def test_20_000_offsets_of_which_any_half_is_done_fit_in_a_commit() -> None:
    chance = random.Random(7)
    found = _set_of([offset for offset in range(20_000) if chance.random() < 0.5])
    assert len(OffsetSet.decode(found.encode())) == len(found)


def test_a_set_that_does_not_fit_keeps_its_first_offsets() -> None:
    chance = random.Random(7)
    found = _set_of([offset for offset in range(500_000) if chance.random() < 0.5])
    text = found.encode()
    assert len(text) <= MAX_METADATA_CHARS
    kept = OffsetSet.decode(text)
    last = max(offset for offset in range(100_000) if offset in kept)
    assert last > 10_000
    assert _members(kept, range(500_000)) == _members(found, range(last + 1))


@pytest.mark.parametrize(
    "text",
    ["x", "im1", "im1:", "im1:8:%%", "im1:7:eJxjAAAAAQAB", "im2:8:eJxjAAAAAQAB", "im1:-8:eJxj"],
)
def test_metadata_of_others_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a set of offsets"):
        OffsetSet.decode(text)
