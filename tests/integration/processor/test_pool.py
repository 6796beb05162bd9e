"""The inference pool with real processes: whatever ends one of them, the next item is served."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from pebble import ProcessPool
from PIL import Image

from imagemill.settings import ProcessorSettings
from imagemill.storage import open_store
from processor.run.item import ItemOutcome, ItemTask
from processor.run.pool import InferencePool, _end
from schemas.errors import ErrorCode
from tests.support.misbehave import installed
from tests.support.models import brightness_entry, brightness_model, install
from tests.support.waiting import wait_until_async

ROOT = Path(__file__).parents[3]
# A process needs some hundred milliseconds to be ended, and pebble looks ten times a second.
PROMPTLY_S = 5.0

LIMIT_S = 1

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.longest]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings of two processes that have the misbehaving operation and no models."""
    home = tmp_path_factory.mktemp("pool")
    with installed(home):
        yield {
            "_env_file": None,
            "home": home,
            "worker_count": 2,
            "item_timeout_s": LIMIT_S,
            "item_memory_bytes": 2 * 1024**3,
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(settings: dict[str, Any]) -> AsyncIterator[InferencePool]:
    """One pool for all tests: each leaves it as good as it found it."""
    async with started(settings) as running:
        yield running


@asynccontextmanager
async def started(settings: dict[str, Any]) -> AsyncIterator[InferencePool]:
    pool = InferencePool(ProcessorSettings(**settings))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop(grace_s=0)


def task(how: str = "well", folder: Path | str = "") -> ItemTask:
    return ItemTask("job-1", 0, (("misbehave", {"how": how, "folder": str(folder)}),))


async def pid_of(pool: InferencePool) -> int:
    outcome = await pool.run(task())
    assert outcome.error is None, outcome.error
    return outcome.result["data"]["pid"]


def code_of(outcome: ItemOutcome) -> ErrorCode:
    assert outcome.error is not None
    return outcome.error.code


async def wait_until_gone(*pids: int) -> None:
    """Wait until none of the processes runs any more."""
    await wait_until_async(
        lambda: [pid for pid in pids if _alive(pid)], lambda alive: not alive, timeout_s=10
    )


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def both(pool: InferencePool) -> set[int]:
    """The process ids of both processes, as soon as both are warm."""
    pids: set[int] = set()
    deadline = time.monotonic() + 60
    while len(pids) < 2:
        assert time.monotonic() < deadline
        pids.add(await pid_of(pool))
    return pids


def processes() -> set[int]:
    """The process ids of the pools of this process."""
    children = psutil.Process().children()
    return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


async def test_items_run_in_processes_that_are_kept(pool: InferencePool) -> None:
    assert pool.ready
    pids = await both(pool)
    assert os.getpid() not in pids
    assert pids == processes()


async def test_items_run_at_once(pool: InferencePool, tmp_path: Path) -> None:
    met = await asyncio.gather(*(pool.run(task("meet", tmp_path)) for _ in range(2)))
    assert len({outcome.result["data"]["pid"] for outcome in met}) == 2


@pytest.mark.parametrize("how", ["killed", "segfault"])
async def test_a_crash_fails_its_item_only(pool: InferencePool, how: str) -> None:
    crash, other = await asyncio.gather(pool.run(task(how)), pool.run(task()))
    assert code_of(crash) is ErrorCode.WORKER_CRASHED
    assert crash.error.transient
    assert other.error is None
    assert [await pid_of(pool) for _ in range(3)]


async def test_a_process_that_is_killed_while_idle_costs_no_item(pool: InferencePool) -> None:
    for _ in range(2):
        victim = await pid_of(pool)
        os.kill(victim, signal.SIGKILL)
        assert victim not in {await pid_of(pool) for _ in range(4)}


async def test_all_processes_killed_at_once_while_idle_cost_no_item(pool: InferencePool) -> None:
    victims = {await pid_of(pool)} | processes()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert await pid_of(pool) not in victims


@pytest.mark.parametrize("how", ["hang", "hang_in_c"])
async def test_a_hang_ends_at_the_time_limit(pool: InferencePool, how: str) -> None:
    began = time.monotonic()
    outcome = await pool.run(task(how))
    # What ignores the polite signal is killed after three seconds more.
    assert LIMIT_S <= time.monotonic() - began < LIMIT_S + 3.0 + PROMPTLY_S
    assert code_of(outcome) is ErrorCode.TIMEOUT
    assert outcome.error.message == "The item did not end within 1 s."
    assert [await pid_of(pool) for _ in range(3)]


async def test_the_time_of_waiting_for_a_process_does_not_count(pool: InferencePool) -> None:
    *hangs, last = await asyncio.gather(*(pool.run(task(how)) for how in ("hang", "hang", "well")))
    assert {code_of(hang) for hang in hangs} == {ErrorCode.TIMEOUT}
    assert last.error is None


async def test_the_end_of_a_process_takes_no_message_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = multiprocessing.get_context("spawn")
    first, second = (ProcessPool(max_workers=1, context=context) for _ in range(2))
    assert await asyncio.wrap_future(first.schedule(os.getpid))
    closed, answered = threading.Event(), threading.Event()
    ending = threading.Thread(target=_end, args=(first,))

    def close(pipe: Connection) -> None:
        os.close(pipe._handle)
        if threading.current_thread() is ending and not closed.is_set():
            # Its number is free, and nobody knows yet that it was closed.
            closed.set()
            answered.wait(10)

    monkeypatch.setattr(Connection, "_close", close)
    ending.start()
    assert await asyncio.to_thread(closed.wait, 10)
    try:
        answer = asyncio.wrap_future(second.schedule(os.getpid))
        assert await asyncio.wait_for(answer, 5)
    finally:
        answered.set()
        for end in (ending.join, lambda: _end(second)):
            await asyncio.to_thread(end)


async def test_too_much_memory_fails_the_item_and_not_the_process(pool: InferencePool) -> None:
    before = await both(pool)
    for _ in range(2):
        assert code_of(await pool.run(task("eat"))) is ErrorCode.OUT_OF_MEMORY
    assert await both(pool) == before


async def test_matting_does_with_the_memory_that_processes_get_by_default(tmp_path: Path) -> None:
    data = brightness_model()
    install(tmp_path / "models", data, brightness_entry(data, default=True))
    settings = {"_env_file": None, "home": tmp_path, "worker_count": 1}
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((64, 64)).save(picture, "PNG")
    open_store(ProcessorSettings(**settings)).put("uploads/1/0", picture.getvalue(), "image/png")
    params = {"alpha_matting": True}
    item = ItemTask("1", 0, (("remove-background", params),), key="uploads/1/0")
    async with started(settings) as running:
        outcome = await running.run(item)
    assert outcome.error is None, outcome.error


async def test_an_unexpected_error_tells_its_kind_and_no_secret(pool: InferencePool) -> None:
    outcome = await pool.run(task("raise"))
    assert code_of(outcome) is ErrorCode.INTERNAL
    assert outcome.error.message == "The operation failed unexpectedly (LookupError)."


async def test_ctrl_c_is_for_the_worker_to_answer(pool: InferencePool) -> None:
    pid = await pid_of(pool)
    os.kill(pid, signal.SIGINT)
    assert pid in {await pid_of(pool) for _ in range(4)}


async def test_an_item_costs_little_more_than_its_work(pool: InferencePool) -> None:
    taken = []
    for _ in range(50):
        began = time.perf_counter()
        await pool.run(task())
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[25] < 0.05


async def test_a_cancelled_item_is_ended(pool: InferencePool, tmp_path: Path) -> None:
    lonely = asyncio.ensure_future(pool.run(task("meet", tmp_path)))
    pid = int((await appears(tmp_path)).name)
    lonely.cancel()
    await wait_until_gone(pid)
    assert await pid_of(pool) != pid


async def test_stopping_gives_up_what_outlasts_the_grace(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    async with started(settings | {"worker_count": 1, "item_timeout_s": 60}) as running:
        lonely = asyncio.ensure_future(running.run(task("meet", tmp_path)))
        pid = int((await appears(tmp_path)).name)
        await running.stop(grace_s=0.3)
        await wait_until_gone(pid)
        lonely.cancel()
        await asyncio.gather(lonely, return_exceptions=True)


async def appears(folder: Path) -> Path:
    """Return the first file of a folder once it has one."""
    [first, *_] = await wait_until_async(lambda: list(folder.iterdir()), timeout_s=30)
    return first


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
    await wait_until_gone(*children)


_WORKER = """
import asyncio
from imagemill.settings import ProcessorSettings
from processor.run.pool import InferencePool, _end


async def main():
    await InferencePool(ProcessorSettings(_env_file=None, worker_count=2)).start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
"""
