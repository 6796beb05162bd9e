"""A receiver that fails time after time gets one post a minute, until one succeeds."""

from __future__ import annotations

import pytest

from notifier.posts.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock, receiver: str = "host") -> Breaker:
    breaker = Breaker(60, clock)
    for _ in range(5):
        assert breaker.try_post(receiver)
        breaker.failed(receiver)
    return breaker


def test_four_failures_in_a_row_do_not_open_it(clock: Clock):
    breaker = Breaker(60, clock)
    for _ in range(4):
        breaker.failed("host")
    breaker.succeeded("host")
    for _ in range(4):
        breaker.failed("host")
    assert breaker.try_post("host")


def test_an_open_circuit_lets_one_post_a_minute_through(clock: Clock):
    breaker = opened(clock)
    assert breaker.wait_s("host") == 60
    posted = []
    for second in range(180):
        clock.now = 1000.0 + second
        if breaker.try_post("host"):
            posted.append(second)
            breaker.failed("host")
    assert posted == [60, 120]


def test_a_probe_that_is_under_way_is_the_only_one(clock: Clock):
    breaker = opened(clock)
    clock.now += 60
    assert breaker.try_post("host")
    assert not breaker.try_post("host")


def test_a_probe_that_succeeds_closes_it(clock: Clock):
    breaker = opened(clock)
    clock.now += 60
    assert breaker.try_post("host")
    breaker.succeeded("host")
    assert all(breaker.try_post("host") for _ in range(10))


def test_other_receivers_are_posted_to(clock: Clock):
    breaker = opened(clock)
    assert breaker.try_post("other")


def test_an_endpoint_waits_for_its_host_and_its_host_not_for_it(clock: Clock):
    breaker = opened(clock, "ep_1")
    assert not breaker.try_post("host", "ep_1")
    assert breaker.try_post("host", "ep_2")
    breaker = opened(clock, "host")
    assert not breaker.try_post("host", "ep_2")


def test_a_post_that_one_circuit_holds_back_is_no_probe_of_the_other(clock: Clock):
    breaker = opened(clock, "host")
    clock.now += 30
    for _ in range(5):
        breaker.failed("ep_1")
    clock.now += 30
    assert not breaker.try_post("host", "ep_1")
    assert breaker.try_post("host")


def test_memory_is_bounded_by_forgetting_the_oldest_failure(clock: Clock):
    breaker = opened(clock, "oldest")
    for number in range(20_000):
        breaker.failed(f"host-{number}")
    assert breaker.try_post("oldest")
