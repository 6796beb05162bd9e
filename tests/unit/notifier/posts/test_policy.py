"""Decisions after an attempt."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.posts.policy import (
    Delivered,
    Drop,
    GiveUp,
    Outcome,
    Retry,
    RetryPolicy,
    decide,
    decide_once,
    gave_up_reason,
    parse_retry_after,
    postpone_s,
    remaining_s,
)
from schemas.webhooks import WebhookFailure

POLICY = RetryPolicy(delays_s=(1, 2, 4), max_s=30, hold_s=5, busy_s=3600 - 8.4, silent_s=60)


def no_jitter() -> float:
    return 0.0


def failed(status: int | None = 500, **facts) -> Outcome:
    failure = WebhookFailure.STATUS if status else WebhookFailure.TIMEOUT
    return Outcome(failure, status=status, message="It failed.", **facts)


def test_a_success_ends_it() -> None:
    assert decide(Outcome(status=204), 1, POLICY, no_jitter) == Delivered()


@pytest.mark.parametrize("status", [302, 400, 401, 404, 409, 429, 500, 503, None])
def test_failures_are_tried_again_after_doubling_waits(status: int | None) -> None:
    waits = [decide(failed(status), attempt, POLICY, no_jitter) for attempt in (1, 2, 3)]
    assert waits == [Retry(1), Retry(2), Retry(4)]


def test_the_last_attempt_gives_up_and_says_why() -> None:
    assert decide(failed(), 4, POLICY, no_jitter) == GiveUp(
        "4 attempts failed. The last: It failed."
    )


def test_gone_and_blocked_are_given_up_at_once() -> None:
    assert isinstance(decide(failed(410), 1, POLICY, no_jitter), GiveUp)
    blocked = Outcome(WebhookFailure.BLOCKED, message="The URL points to a private network.")
    assert decide(blocked, 1, POLICY, no_jitter) == GiveUp("The URL points to a private network.")


def test_retry_after_lengthens_a_wait_within_bounds() -> None:
    assert decide(failed(429, retry_after_s=7), 1, POLICY, no_jitter) == Retry(7)
    assert decide(failed(429, retry_after_s=0), 1, POLICY, no_jitter) == Retry(1)
    assert decide(failed(429, retry_after_s=86_400), 1, POLICY, no_jitter) == Retry(30)


@given(st.integers(1, 3), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_waits_are_a_little_longer_than_planned(
    attempt: int, after: float | None, luck: float
) -> None:
    planned = decide(failed(retry_after_s=after), attempt, POLICY, no_jitter)
    decision = decide(failed(retry_after_s=after), attempt, POLICY, lambda: luck)
    assert planned.delay_s <= decision.delay_s <= planned.delay_s * 1.201


def test_a_requeued_delivery_is_given_up_sooner_when_its_host_is_silent() -> None:
    assert gave_up_reason(3600, 60, POLICY) is None
    assert gave_up_reason(60, 3600, POLICY) is None
    assert gave_up_reason(61, 61, POLICY) == "The receiver has not answered for 61 s."
    assert "too slow" in gave_up_reason(3601, 0, POLICY)


@given(st.floats(0, 4000), st.floats(0, 4000))
def test_no_delivery_is_given_up_before_its_remaining_time_has_passed(
    waited_s: float, silent_s: float
) -> None:
    left_s = remaining_s(waited_s, silent_s, POLICY)
    assert 0 < left_s < 61
    if gave_up_reason(waited_s, silent_s, POLICY) is None:
        soon = max(0.0, left_s - 0.1)
        assert gave_up_reason(waited_s + soon, silent_s + soon, POLICY) is None
        if silent_s or waited_s > POLICY.patience_s - 60:
            assert gave_up_reason(waited_s + left_s, silent_s + left_s, POLICY) is not None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120),
        ("1.5", 1.5),
        ("-5", 0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        (formatdate(1_800_000_060, usegmt=True), 60),
        (formatdate(1_700_000_000, usegmt=True), 0),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, 1_800_000_000) == seconds


SCHEDULE = RetryPolicy(delays_s=(5, 300, 1800), max_s=None, hold_s=5, busy_s=86_400, silent_s=None)


@pytest.mark.parametrize(
    ("attempt", "asked_s", "waits_s"),
    [
        (1, None, 5),
        (1, 3, 5),
        (1, 60, 60),
        (1, 3600, 300),
        (2, 600, 600),
        (2, 86_400, 1800),
        (3, 86_400, 1800),
    ],
)
def test_retry_after_is_honoured_up_to_the_next_step(
    attempt: int, asked_s: float | None, waits_s: float
) -> None:
    assert decide(failed(503, retry_after_s=asked_s), attempt, SCHEDULE, no_jitter) == Retry(
        waits_s
    )


def test_the_attempt_after_the_last_delay_gives_up() -> None:
    assert decide(failed(), 3, SCHEDULE, no_jitter) == Retry(1800)
    assert isinstance(decide(failed(), 4, SCHEDULE, no_jitter), GiveUp)


def test_a_replay_is_one_attempt() -> None:
    assert decide_once(Outcome(status=200)) == Delivered()
    assert decide_once(failed()) == Drop("It failed.")
    assert decide_once(failed(410)) == Drop("It failed.")


def test_a_receiver_that_is_silent_for_days_is_waited_for() -> None:
    days_s = 86_400 + 2105
    assert gave_up_reason(days_s, days_s, SCHEDULE) is None
    assert gave_up_reason(SCHEDULE.patience_s + 1, 0, SCHEDULE) is not None


def test_a_delivery_that_is_postponed_often_waits_for_half_an_hour() -> None:
    delays = [postpone_s(postponed, no_jitter) for postponed in (0, 1, 2, 3, 4, 5, 6, 1000)]
    assert delays == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert postpone_s(0, lambda: 1.0) == 72
