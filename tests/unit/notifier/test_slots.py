"""Slots: a slow host holds up nobody else."""

from __future__ import annotations

import asyncio

from notifier.slots import Slots


async def test_a_host_at_its_limit_leaves_places_to_others() -> None:
    slots = Slots(total=3, per_host=2)
    release = asyncio.Event()
    posting: list[str] = []

    async def post(host: str) -> None:
        async with slots.of(host):
            posting.append(host)
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for host in ["slow"] * 10 + ["fast"] * 10:
            group.create_task(post(host))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(posting) == ["fast", "slow", "slow"]
        release.set()
    assert sorted(posting) == ["fast"] * 10 + ["slow"] * 10
    assert slots.hosts == 0
