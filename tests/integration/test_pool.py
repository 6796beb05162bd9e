"""The inference pool with real processes: whatever ends one of them, the next item is served."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from imagemill.settings import ProcessorSettings
from processor.pool import InferencePool
from processor.work import ItemOutcome, ItemTask
from schemas.errors import ErrorCode
from tests.support.misbehave import register

ROOT = Path(__file__).parents[2]
# A process needs some hundred milliseconds to be ended, and pebble looks ten times a second.
PROMPTLY_S = 5.0

MakePool = Callable[..., "asynccontextmanager[AsyncIterator[InferencePool]]"]


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePool:
    """A started pool of processes that have the misbehaving operation and no models."""
    register(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    @asynccontextmanager
    async def started(count: int = 1, **settings: object) -> AsyncIterator[InferencePool]:
        made = InferencePool(
            ProcessorSettings(_env_file=None, home=tmp_path, worker_count=count, **settings)
        )
        await made.start()
        try:
            yield made
        finally:
            await made.stop(grace_s=0)

    return started


def task(how: str = "well", folder: Path | str = "") -> ItemTask:
    return ItemTask("job-1", 0, (("misbehave", {"how": how, "folder": str(folder)}),))


async def pid_of(pool: InferencePool) -> int:
    outcome = await pool.run(task())
    assert outcome.error is None, outcome.error
    return outcome.result["data"]["pid"]


def code_of(outcome: ItemOutcome) -> ErrorCode:
    assert outcome.error is not None
    return outcome.error.code


async def gone(*pids: int, within_s: float = 10.0) -> bool:
    """Whether none of the processes runs any more, at the latest after that time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_an_item_runs_in_a_process_of_its_own_and_the_process_is_kept(pool: MakePool) -> None:
    async with pool() as running:
        first = await pid_of(running)
        assert first != os.getpid()
        assert await pid_of(running) == first
        assert running.ready
    assert await gone(first)


@pytest.mark.parametrize("how", ["killed", "segfault"])
async def test_a_crash_fails_its_item_only(pool: MakePool, how: str) -> None:
    async with pool() as running:
        before = await pid_of(running)
        outcome = await running.run(task(how))
        assert code_of(outcome) is ErrorCode.WORKER_CRASHED
        assert outcome.error.transient
        assert await pid_of(running) != before


async def test_a_process_that_is_killed_while_idle_costs_no_item(pool: MakePool) -> None:
    async with pool(2) as running:
        for _ in range(2):
            victim = await pid_of(running)
            os.kill(victim, signal.SIGKILL)
            pids = {await pid_of(running) for _ in range(4)}
            assert victim not in pids


async def test_all_processes_killed_at_once_while_idle_cost_no_item(pool: MakePool) -> None:
    async with pool(2) as running:
        victims = [child.pid for child in psutil.Process().children() if _is_pool(child)]
        assert len(victims) == 2
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        assert await pid_of(running) not in victims


def _is_pool(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


@pytest.mark.parametrize("how", ["hang", "hang_in_c"])
async def test_a_hang_ends_at_the_time_limit(pool: MakePool, how: str) -> None:
    async with pool(item_timeout_s=1) as running:
        before = await pid_of(running)
        began = time.monotonic()
        outcome = await running.run(task(how))
        # What ignores the polite signal is killed after three seconds more.
        assert 1.0 <= time.monotonic() - began < 1.0 + 3.0 + PROMPTLY_S
        assert code_of(outcome) is ErrorCode.TIMEOUT
        assert outcome.error.message == "The item did not end within 1 s."
        assert await pid_of(running) != before


async def test_the_time_of_waiting_for_a_process_does_not_count(pool: MakePool) -> None:
    async with pool(item_timeout_s=1) as running:
        outcomes = await asyncio.gather(*(running.run(task(how)) for how in ("hang", "well")))
        assert code_of(outcomes[0]) is ErrorCode.TIMEOUT
        assert outcomes[1].error is None


async def test_too_much_memory_fails_the_item_and_not_the_process(pool: MakePool) -> None:
    async with pool(item_memory_bytes=2 * 1024**3) as running:
        before = await pid_of(running)
        outcome = await running.run(task("eat"))
        assert code_of(outcome) is ErrorCode.OUT_OF_MEMORY
        assert await pid_of(running) == before


async def test_an_unexpected_error_tells_its_kind_and_no_secret(pool: MakePool) -> None:
    async with pool() as running:
        outcome = await running.run(task("raise"))
        assert code_of(outcome) is ErrorCode.INTERNAL
        assert outcome.error.message == "The operation failed unexpectedly (LookupError)."


async def test_items_run_at_once_and_do_not_disturb_each_other(
    pool: MakePool, tmp_path: Path
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    async with pool(2) as running:
        met = await asyncio.gather(*(running.run(task("meet", meeting)) for _ in range(2)))
        assert len({outcome.result["data"]["pid"] for outcome in met}) == 2
        crash, other = await asyncio.gather(running.run(task("killed")), running.run(task()))
        assert code_of(crash) is ErrorCode.WORKER_CRASHED
        assert other.error is None


async def test_a_cancelled_item_is_ended(pool: MakePool) -> None:
    async with pool() as running:
        before = await pid_of(running)
        hanging = asyncio.ensure_future(running.run(task("hang")))
        await asyncio.sleep(0)  # lets it take the process
        hanging.cancel()
        assert await pid_of(running) != before
        assert await gone(before)


async def test_stopping_gives_up_what_outlasts_the_grace(pool: MakePool) -> None:
    async with pool() as running:
        pid = await pid_of(running)
        hanging = asyncio.ensure_future(running.run(task("hang")))
        await asyncio.sleep(0)  # lets it take the process
        await running.stop(grace_s=0.3)
        assert await gone(pid)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


async def test_ctrl_c_is_for_the_worker_to_answer(pool: MakePool) -> None:
    async with pool() as running:
        pid = await pid_of(running)
        os.kill(pid, signal.SIGINT)
        assert await pid_of(running) == pid


async def test_an_item_costs_little_more_than_its_work(pool: MakePool) -> None:
    async with pool() as running:
        taken = []
        for _ in range(50):
            began = time.perf_counter()
            await running.run(task())
            taken.append(time.perf_counter() - began)
        assert sorted(taken)[25] < 0.05


async def test_processes_end_when_the_worker_is_killed(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(_WORKER)
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        worker,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "IMAGEMILL_HOME": str(tmp_path)},
    )
    try:
        assert await parent.stdout.readline() == b"started\n"
        children = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
        assert len(children) >= 2
    finally:
        parent.kill()
        await parent.wait()
    assert await gone(*children)


_WORKER = """
import asyncio
from imagemill.settings import ProcessorSettings
from processor.pool import InferencePool


async def main():
    await InferencePool(ProcessorSettings(_env_file=None, worker_count=2)).start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
"""
