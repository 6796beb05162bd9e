"""The retry policy: which failures are tried again, and after which delay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.run.retry import RetryPolicy
from schemas.errors import ErrorCode, JobError

POLICY = RetryPolicy(max_attempts=5, base_s=1.0, max_s=6.0)
AWAY = JobError.of(ErrorCode.STORE_UNAVAILABLE, "away")


@given(st.integers(0, 2**32))
def test_delays_double_up_to_the_longest_and_half_of_each_is_random(seed: int) -> None:
    rng = random.Random(seed)
    delays = [POLICY.delay_s(attempt, AWAY, rng) for attempt in (1, 2, 3, 4)]
    for delay, longest in zip(delays, (1.0, 2.0, 4.0, 6.0), strict=True):
        assert delay is not None
        assert longest / 2 <= delay <= longest


def test_two_items_of_one_failure_do_not_come_back_together() -> None:
    assert len({POLICY.delay_s(3, AWAY) for _ in range(20)}) == 20


def test_the_last_attempt_is_the_last() -> None:
    assert POLICY.delay_s(4, AWAY) is not None
    assert POLICY.delay_s(5, AWAY) is None
    assert POLICY.delay_s(10**9, AWAY) is None


def test_one_attempt_means_no_retry() -> None:
    assert RetryPolicy(1, 1.0, 6.0).delay_s(1, AWAY) is None


@pytest.mark.parametrize("code", list(ErrorCode))
def test_only_what_may_end_differently_is_tried_again(code: ErrorCode) -> None:
    transient = {
        ErrorCode.URL_UNREACHABLE,
        ErrorCode.TIMEOUT,
        ErrorCode.WORKER_CRASHED,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.STORE_UNAVAILABLE,
    }
    again = POLICY.delay_s(1, JobError.of(code, "?")) is not None
    assert again == (code in transient)
