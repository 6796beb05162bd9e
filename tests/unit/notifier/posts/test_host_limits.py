"""HostLimits: a slow host holds up nobody else."""

from __future__ import annotations

import asyncio

import pytest

from notifier.posts.host_limits import HostLimits, NoSlot


def hold_all(limits: HostLimits, host: str) -> int:
    """Hold deliveries for a host until one is refused; return how many."""
    count = 0
    while limits.try_hold(host):
        count += 1
    return count


async def test_a_host_at_its_limit_leaves_slots_to_others() -> None:
    limits = HostLimits(total=3, per_host=2, backlog=100, wait_s=10)
    release = asyncio.Event()
    posting: list[str] = []

    async def post(host: str) -> None:
        assert limits.try_hold(host)
        async with limits.slot(host):
            posting.append(host)
            await release.wait()
        limits.release(host)

    async with asyncio.TaskGroup() as group:
        for host in ["slow"] * 10 + ["fast"] * 10:
            group.create_task(post(host))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(posting) == ["fast", "slow", "slow"]
        release.set()
    assert sorted(posting) == ["fast"] * 10 + ["slow"] * 10
    assert limits.hosts == 0


async def test_a_slot_that_is_not_free_in_time_raises_no_slot() -> None:
    limits = HostLimits(total=2, per_host=1, backlog=100, wait_s=0.01)
    assert limits.try_hold("slow") and limits.try_hold("slow")
    async with limits.slot("slow"):
        with pytest.raises(NoSlot):
            async with limits.slot("slow"):
                pass
    async with limits.slot("slow"):
        pass


@pytest.mark.parametrize(
    ("took_s", "held"), [(None, 125), (0.001, 500), (0.2, 200), (1.0, 40), (15.0, 8)]
)
def test_of_one_host_so_many_are_held_as_are_posted_in_time(took_s: float | None, held: int):
    limits = HostLimits(total=64, per_host=8, backlog=1000, wait_s=5)
    assert limits.try_hold("host")
    if took_s is not None:
        limits.record_attempt("host", took_s, answered=True)
    assert 1 + hold_all(limits, "host") == held
    assert hold_all(limits, "other") == 125
    limits.release("host")
    assert limits.try_hold("host") and not limits.try_hold("host")


async def test_a_host_that_does_not_answer_is_posted_to_one_at_a_time() -> None:
    times = iter((100.0, 160.0))
    limits = HostLimits(total=64, per_host=2, backlog=100, wait_s=0.01, clock=lambda: next(times))
    assert limits.try_hold("dead") and limits.try_hold("dead")
    limits.record_attempt("dead", 0.01, answered=False)
    assert not limits.try_hold("dead")
    async with limits.slot("dead"):
        with pytest.raises(NoSlot):
            async with limits.slot("dead"):
                pass
        assert limits.silent_s("dead") == 60
        limits.record_attempt("dead", 0.01, answered=True)
        async with limits.slot("dead"):
            pass
    assert limits.silent_s("dead") == 0


def test_a_silent_host_is_known_though_nothing_is_held_for_it() -> None:
    limits = HostLimits(total=64, per_host=2, backlog=100, wait_s=1)
    assert limits.try_hold("dead")
    limits.record_attempt("dead", 0.01, answered=False)
    limits.release("dead")
    assert (limits.hosts, hold_all(limits, "dead")) == (0, 2)


async def test_holds_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    limits = HostLimits(total=64, per_host=1, backlog=8, wait_s=1)
    assert limits.try_hold("busy")
    came: list[int] = []

    async def wait(number: int) -> None:
        await limits.hold("busy")
        came.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await limits.hold("other")
    await asyncio.sleep(0)
    assert came == []
    waiting[0].cancel()
    limits.release("busy")
    await asyncio.sleep(0.01)
    assert came == [1]
    # One that is cancelled just as it is given leaves it to the next.
    limits.release("busy")
    waiting[2].cancel()
    await asyncio.sleep(0.01)
    assert came == [1, 3]
    assert not limits.try_hold("busy"), "others wait before it"
    limits.release("busy")
    await asyncio.sleep(0.01)
    limits.release("busy")
    limits.release("other")
    assert (came, limits.hosts) == ([1, 3, 4], 0)


async def test_waiting_holds_are_given_when_a_silent_host_answers() -> None:
    limits = HostLimits(total=64, per_host=1, backlog=100, wait_s=1)
    assert limits.try_hold("dead")
    limits.record_attempt("dead", 0.01, answered=False)
    waiting = [asyncio.create_task(limits.hold("dead")) for _ in range(3)]
    await asyncio.sleep(0)
    limits.record_attempt("dead", 0.01, answered=True)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
