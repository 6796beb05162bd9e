"""HostLimits: a slow host holds up nobody else."""

from __future__ import annotations

import asyncio

import pytest

from notifier.host_limits import HostLimits, NoSlot


def admitted(slots: HostLimits, host: str) -> int:
    """How many deliveries of a host are admitted until one is refused."""
    count = 0
    while slots.admit(host):
        count += 1
    return count


async def test_a_host_at_its_limit_leaves_places_to_others() -> None:
    slots = HostLimits(total=3, per_host=2, backlog=100, wait_s=10)
    release = asyncio.Event()
    posting: list[str] = []

    async def post(host: str) -> None:
        assert slots.admit(host)
        async with slots.of(host):
            posting.append(host)
            await release.wait()
        slots.leave(host)

    async with asyncio.TaskGroup() as group:
        for host in ["slow"] * 10 + ["fast"] * 10:
            group.create_task(post(host))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(posting) == ["fast", "slow", "slow"]
        release.set()
    assert sorted(posting) == ["fast"] * 10 + ["slow"] * 10
    assert slots.hosts == 0


async def test_who_waits_too_long_is_told() -> None:
    slots = HostLimits(total=2, per_host=1, backlog=100, wait_s=0.01)
    assert slots.admit("slow") and slots.admit("slow")
    async with slots.of("slow"):
        with pytest.raises(NoSlot):
            async with slots.of("slow"):
                pass
    async with slots.of("slow"):
        pass


@pytest.mark.parametrize(
    ("took_s", "held"), [(None, 125), (0.001, 500), (0.2, 200), (1.0, 40), (15.0, 8)]
)
def test_of_one_host_so_many_are_held_as_are_posted_in_time(took_s: float | None, held: int):
    slots = HostLimits(total=64, per_host=8, backlog=1000, wait_s=5)
    assert slots.admit("host")
    if took_s is not None:
        slots.attempted("host", took_s, answered=True)
    assert 1 + admitted(slots, "host") == held
    assert admitted(slots, "other") == 125
    slots.leave("host")
    assert slots.admit("host") and not slots.admit("host")


async def test_a_host_that_does_not_answer_is_posted_to_one_at_a_time() -> None:
    times = iter((100.0, 160.0))
    slots = HostLimits(total=64, per_host=2, backlog=100, wait_s=0.01, clock=lambda: next(times))
    assert slots.admit("dead") and slots.admit("dead")
    slots.attempted("dead", 0.01, answered=False)
    assert not slots.admit("dead")
    async with slots.of("dead"):
        with pytest.raises(NoSlot):
            async with slots.of("dead"):
                pass
        assert slots.silent_s("dead") == 60
        slots.attempted("dead", 0.01, answered=True)
        async with slots.of("dead"):
            pass
    assert slots.silent_s("dead") == 0


def test_a_silent_host_is_known_though_nothing_is_held_for_it() -> None:
    slots = HostLimits(total=64, per_host=2, backlog=100, wait_s=1)
    assert slots.admit("dead")
    slots.attempted("dead", 0.01, answered=False)
    slots.leave("dead")
    assert (slots.hosts, admitted(slots, "dead")) == (0, 2)


async def test_turns_come_in_the_order_in_which_they_were_waited_for() -> None:
    slots = HostLimits(total=64, per_host=1, backlog=8, wait_s=1)
    assert slots.admit("busy")
    came: list[int] = []

    async def wait(number: int) -> None:
        await slots.turn("busy")
        came.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await slots.turn("other")
    await asyncio.sleep(0)
    assert came == []
    waiting[0].cancel()
    slots.leave("busy")
    await asyncio.sleep(0.01)
    assert came == [1]
    # One that is called off just when its turn came leaves it to the next.
    slots.leave("busy")
    waiting[2].cancel()
    await asyncio.sleep(0.01)
    assert came == [1, 3]
    assert not slots.admit("busy"), "there are others before it"
    slots.leave("busy")
    await asyncio.sleep(0.01)
    slots.leave("busy")
    slots.leave("other")
    assert (came, slots.hosts) == ([1, 3, 4], 0)


async def test_who_waits_is_let_in_when_a_silent_host_answers() -> None:
    slots = HostLimits(total=64, per_host=1, backlog=100, wait_s=1)
    assert slots.admit("dead")
    slots.attempted("dead", 0.01, answered=False)
    waiting = [asyncio.create_task(slots.turn("dead")) for _ in range(3)]
    await asyncio.sleep(0)
    slots.attempted("dead", 0.01, answered=True)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
