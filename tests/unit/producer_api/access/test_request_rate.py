"""Requests a second of a key: bursts, refusals, and when there are more."""

from __future__ import annotations

import pytest

from producer_api.access.caller import ANYONE, Caller
from producer_api.access.request_rate import RequestRates
from producer_api.http.problems import Problem


def limited(per_s: float, key_id: str = "k1") -> Caller:
    return Caller(owner="alice", key_id=key_id, requests_per_s=per_s)


def refusal(rates: RequestRates, caller: Caller, now_s: float) -> Problem:
    with pytest.raises(Problem) as caught:
        rates.take(caller, now_s)
    return caught.value


def test_a_burst_of_one_second_passes_and_the_next_request_waits() -> None:
    rates, caller = RequestRates(), limited(3)
    left = [state.remaining for _ in range(3) if (state := rates.take(caller, 100.0))]
    assert left == [2, 1, 0]
    refused = refusal(rates, caller, 100.0)
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit"] == '"requests";r=0;t=1'
    assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=1'
    assert rates.take(caller, 100.4) is not None


def test_the_average_is_the_limit_whatever_the_rhythm() -> None:
    rates, caller = RequestRates(), limited(2.5)
    taken = 0
    for tick in range(1000):
        try:
            rates.take(caller, tick / 50)
        except Problem:
            continue
        taken += 1
    # 20 s at 2.5 a second, and the burst at the start.
    assert 50 <= taken <= 53


def test_a_limit_below_one_a_second_lets_one_request_in_each_window() -> None:
    rates, caller = RequestRates(), limited(0.1)
    state = rates.take(caller, 0.0)
    assert state is not None
    assert (state.quota, state.window_s, state.remaining, state.reset_s) == (1, 10, 0, 10)
    assert refusal(rates, caller, 1.0).headers["Retry-After"] == "9"
    assert rates.take(caller, 10.0) is not None


def test_keys_of_one_owner_have_a_bucket_each() -> None:
    rates = RequestRates()
    rates.take(limited(1, "k1"), 0.0)
    rates.take(limited(1, "k2"), 0.0)
    refusal(rates, limited(1, "k1"), 0.0)


def test_a_lowered_limit_counts_at_once() -> None:
    rates = RequestRates()
    rates.take(limited(100), 0.0)
    state = rates.take(limited(1), 0.0)
    assert state is not None and state.remaining == 0
    refusal(rates, limited(1), 0.0)


def test_many_keys_do_not_fill_the_memory() -> None:
    rates = RequestRates()
    for number in range(25_000):
        rates.take(limited(1, f"k{number}"), float(number))
    assert len(rates._buckets) <= 10_000
    refusal(rates, limited(1, "k24999"), 24_999.0)


def test_a_caller_without_a_limit_has_no_bucket() -> None:
    assert RequestRates().take(ANYONE, 0.0) is None
