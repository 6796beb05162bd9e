"""Batches in real processes: one call of a model for several items, and each judged as if alone."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from PIL import Image

from imagemill.settings import ProcessorSettings
from imagemill.storage import ObjectStore, open_store
from processor.run.item import ItemOutcome, ItemTask
from processor.run.pool import InferencePool
from schemas.errors import ErrorCode
from tests.support.misbehave import installed
from tests.support.models import counting_entry, counting_model, install
from tests.support.pictures import png_header
from tests.support.waiting import wait_until_async

SIZE = 4
# Long enough for a slow machine: a batch that takes longer is split.
LIMIT_S = 4
# Longer than the test may take: a batch that is served was full.
LONG_MS = 1000.0

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.longest]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings of one process that takes four items at once, and has a model that counts them."""
    home = tmp_path_factory.mktemp("batches")
    data = counting_model()
    install(home / "models", data, counting_entry(data))
    fixed = counting_model(1)
    install(home / "models", fixed, counting_entry(fixed, "fixed"))
    with installed(home):
        yield {
            "_env_file": None,
            "home": home,
            "worker_count": 1,
            "item_timeout_s": LIMIT_S,
            "item_memory_bytes": 2 * 1024**3,
            "batch_size": SIZE,
            "batch_delay_ms": LONG_MS,
        }


@pytest.fixture(scope="module")
def store(settings: dict[str, Any]) -> ObjectStore:
    """Holds grey pictures of different sizes, `uploads/job-1/<n>` with n in all channels."""
    made = open_store(ProcessorSettings(**settings))
    for level in range(10):
        buffer = io.BytesIO()
        Image.new("RGB", (40 + 20 * level, 30), (level,) * 3).save(buffer, "PNG")
        made.put(f"uploads/job-1/{level}", buffer.getvalue(), "image/png")
    made.put("uploads/job-1/broken", b"no picture at all", "image/png")
    made.put("uploads/job-1/huge", png_header(10_000, 6_000), "image/png")
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(settings: dict[str, Any], store: ObjectStore) -> AsyncIterator[InferencePool]:
    """One pool for the tests that leave it as good as they found it."""
    async with started(settings) as running:
        yield running


@asynccontextmanager
async def started(settings: dict[str, Any]) -> AsyncIterator[InferencePool]:
    """A pool that has seen that the counting model takes several pictures."""
    pool = InferencePool(ProcessorSettings(**settings))
    await pool.start()
    try:
        assert together(await pool.run(task(0))) == 1
        yield pool
    finally:
        await pool.stop(grace_s=0)


def task(name: object, how: str = "well", model: str = "counting", folder: str = "") -> ItemTask:
    params = {"how": how, "model": model, "folder": folder}
    return ItemTask("job-1", 0, (("count", params),), key=f"uploads/job-1/{name}")


def data_of(outcome: ItemOutcome) -> dict[str, Any]:
    assert outcome.error is None, outcome.error
    return outcome.result["data"]


def together(outcome: ItemOutcome) -> int:
    return data_of(outcome)["together"]


def code_of(outcome: ItemOutcome) -> ErrorCode:
    assert outcome.error is not None
    return outcome.error.code


async def all_of(pool: InferencePool, *tasks: ItemTask) -> list[ItemOutcome]:
    return await asyncio.gather(*map(pool.run, tasks))


async def test_the_pool_has_use_for_as_many_items_as_its_processes_take(
    pool: InferencePool,
) -> None:
    assert pool.slots == SIZE


async def test_items_that_wait_share_a_call_and_get_their_own_result(pool: InferencePool) -> None:
    outcomes = await all_of(pool, *map(task, range(4)))
    assert [together(one) for one in outcomes] == [4] * 4
    assert [data_of(one)["mean"] for one in outcomes] == [0, 1, 2, 3]


async def test_more_items_than_a_batch_holds_are_several_batches(pool: InferencePool) -> None:
    outcomes = await all_of(pool, *map(task, range(10)))
    assert sorted(together(one) for one in outcomes) == [2] * 2 + [4] * 8
    assert [data_of(one)["mean"] for one in outcomes] == list(range(10))


async def test_an_item_that_stays_alone_is_served_alone(pool: InferencePool) -> None:
    assert together(await pool.run(task(3))) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("broken", ErrorCode.IMAGE_UNDECODABLE),
        ("huge", ErrorCode.IMAGE_TOO_LARGE),
        ("missing", ErrorCode.IMAGE_MISSING),
    ],
)
async def test_a_bad_picture_fails_alone(pool: InferencePool, name: str, code: ErrorCode) -> None:
    bad, *others = await all_of(pool, *map(task, (name, 1, 2, 3)))
    assert code_of(bad) is code
    assert [data_of(one)["mean"] for one in others] == [1, 2, 3]
    assert [together(one) for one in others] == [3] * 3


async def test_an_item_that_raises_fails_alone(pool: InferencePool) -> None:
    bad, *others = await all_of(pool, task(0, "raise"), *map(task, (1, 2, 3)))
    assert code_of(bad) is ErrorCode.INTERNAL
    assert [together(one) for one in others] == [3] * 3


@pytest.mark.parametrize(
    ("how", "code"),
    [("killed", ErrorCode.WORKER_CRASHED), ("hang", ErrorCode.TIMEOUT)],
)
async def test_what_ends_the_process_is_the_fault_of_one_item(
    pool: InferencePool, how: str, code: ErrorCode
) -> None:
    bad, *others = await all_of(pool, task(0, how), *map(task, (1, 2, 3)))
    assert code_of(bad) is code
    assert bad.error.transient
    assert [data_of(one)["mean"] for one in others] == [1, 2, 3]
    assert [together(one) for one in others] == [1] * 3


async def test_a_process_killed_by_others_costs_no_item(
    pool: InferencePool, tmp_path: Path
) -> None:
    # The first finds another process's file when it runs again, and ends.
    tasks = [task(0, "meet", folder=str(tmp_path)), *map(task, (1, 2, 3))]
    running = asyncio.ensure_future(all_of(pool, *tasks))
    psutil.Process(int((await appears(tmp_path)).name)).kill()
    outcomes = await running
    assert [data_of(one)["mean"] for one in outcomes] == [0, 1, 2, 3]
    assert [together(one) for one in outcomes] == [1] * 4


async def test_the_memory_limit_is_an_items(pool: InferencePool) -> None:
    pid = data_of(await pool.run(task(1)))["pid"]
    bad, *others = await all_of(pool, task(0, "eat"), *map(task, (1, 2, 3)))
    assert code_of(bad) is ErrorCode.OUT_OF_MEMORY
    assert [together(one) for one in others] == [3] * 3
    assert {data_of(one)["pid"] for one in others} == {pid}


async def test_a_model_that_takes_one_picture_gets_one(pool: InferencePool) -> None:
    for _ in range(2):
        outcomes = await all_of(pool, *(task(level, model="fixed") for level in range(4)))
        assert [together(one) for one in outcomes] == [1] * 4
        assert [data_of(one)["mean"] for one in outcomes] == [0, 1, 2, 3]


async def test_items_of_different_models_do_not_meet(pool: InferencePool) -> None:
    counted, other = await all_of(pool, task(1), task(2, model="fixed"))
    assert (together(counted), together(other)) == (1, 1)


async def test_an_item_that_is_cancelled_does_not_disturb_the_others(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    async with started(settings | {"item_timeout_s": 60}) as running:
        first, *others = (asyncio.ensure_future(running.run(task(n))) for n in range(4))
        await asyncio.sleep(0)
        first.cancel()
        assert [together(one) for one in await asyncio.gather(*others)] == [3] * 3
        # Also when the process has it already.
        waiting = [
            asyncio.ensure_future(running.run(task(n, "meet", folder=str(tmp_path))))
            for n in range(4)
        ]
        await appears(tmp_path)
        waiting[0].cancel()
        (tmp_path / "other").touch()
        assert [together(one) for one in await asyncio.gather(*waiting[1:])] == [4] * 3


async def test_items_that_are_all_cancelled_are_ended(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    async with started(settings | {"item_timeout_s": 60}) as running:
        waiting = [
            asyncio.ensure_future(running.run(task(n, "meet", folder=str(tmp_path))))
            for n in range(4)
        ]
        process = psutil.Process(int((await appears(tmp_path)).name))
        for one in waiting:
            one.cancel()
        await within(10, asyncio.to_thread(process.wait))
        assert together(await running.run(task(1))) == 1


async def appears(folder: Path) -> Path:
    """Return the first file of a folder once it has one."""
    [first, *_] = await wait_until_async(lambda: list(folder.iterdir()), timeout_s=30)
    return first


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, seconds)


async def test_no_batches_unless_a_provider_profits(settings: dict[str, Any]) -> None:
    async with started(settings | {"batch_size": None}) as running:
        assert running.slots == 1
        assert [together(one) for one in await all_of(running, task(1), task(2))] == [1, 1]
