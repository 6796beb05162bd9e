"""Timestamps: one form, ordered as strings."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import canonical, elapsed_ms, from_epoch, now, to_epoch

SECONDS = st.floats(0, 4_000_000_000, allow_nan=False)


@given(SECONDS, SECONDS)
def test_timestamps_order_as_the_moments_they_stand_for(one: float, other: float) -> None:
    assert (from_epoch(one) <= from_epoch(other)) or one > other


@given(SECONDS)
def test_a_timestamp_is_exact_to_the_millisecond(moment: float) -> None:
    assert 0 <= moment - to_epoch(from_epoch(moment)) < 0.00101


def test_the_form_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert from_epoch(0) == "1970-01-01T00:00:00.000Z"
    assert from_epoch(1_772_359_200.0625) == "2026-03-01T10:00:00.062Z"
    assert abs(to_epoch(now()) - time.time()) < 60


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("2026-03-01T10:00:00.062Z", "2026-03-01T10:00:00.062Z"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T10:00:00.062999+00:00", "2026-03-01T10:00:00.062Z"),
        ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_of_other_writers_are_brought_into_the_form(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01T10:00:00.000Z", "2026-03-01T10:00:00", "2026-03-01", "-"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        canonical(text)


def test_elapsed_time_is_never_negative_and_0_without_a_start() -> None:
    assert elapsed_ms(from_epoch(10), from_epoch(12.5)) == 2500.0
    assert elapsed_ms(from_epoch(12.5), from_epoch(10)) == 0.0
    assert elapsed_ms("", from_epoch(10)) == 0.0
