"""When a batch is served, with whom, and what its items hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from processor.run.batcher import Batches, Take, batch_key
from processor.run.item import ItemOutcome, ItemTask

LONG_S = 60.0
SHORT_S = 0.01

pytestmark = pytest.mark.asyncio


def task(index: int) -> ItemTask:
    return ItemTask("job-1", index, (("remove-background", {}),), key="uploads/job-1/0")


def outcome(index: int) -> ItemOutcome:
    return ItemOutcome(result={"index": index})


class Process:
    """Serves batches while `free` is set; `served` has what it got."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.served: list[list[int]] = []
        self.answer: Callable[[int], ItemOutcome | None] = outcome

    async def serve(self, take: Take) -> Sequence[ItemOutcome | None]:
        await self.free.wait()
        indexes = [one.index for one in take()]
        self.served.append(indexes)
        return [self.answer(index) for index in indexes]


async def run(batches: Batches, *indexes: int, key: str = "k") -> list[ItemOutcome | None]:
    work = asyncio.gather(*(batches.run(key, task(index)) for index in indexes))
    return await asyncio.wait_for(work, 10)


async def test_a_full_batch_does_not_wait() -> None:
    process = Process()
    outcomes = await run(Batches(3, LONG_S, process.serve), 0, 1, 2)
    assert outcomes == [outcome(0), outcome(1), outcome(2)]
    assert process.served == [[0, 1, 2]]


async def test_an_item_alone_waits_for_the_delay_and_no_longer() -> None:
    process = Process()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await run(Batches(3, SHORT_S, process.serve), 0) == [outcome(0)]
    assert loop.time() - began >= SHORT_S * 0.9
    assert process.served == [[0]]


async def test_the_delay_counts_from_the_first_item() -> None:
    process = Process()
    batches = Batches(100, 0.05, process.serve)
    waiting = []
    # Items keep coming; that does not keep the first one.
    while not process.served:
        waiting.append(asyncio.ensure_future(batches.run("k", task(len(waiting)))))
        assert len(waiting) < 99
        await asyncio.sleep(0.005)
    await batches.stop()
    assert 0 in process.served[0]
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_without_a_delay_those_that_wait_for_a_process_go_together() -> None:
    process = Process()
    process.free.clear()
    batches = Batches(3, 0, process.serve)
    waiting = asyncio.ensure_future(run(batches, 0, 1, 2, 3))
    await asyncio.sleep(SHORT_S)
    process.free.set()
    await waiting
    assert process.served == [[0, 1, 2], [3]]


async def test_items_of_different_keys_stay_apart() -> None:
    process = Process()
    batches = Batches(2, LONG_S, process.serve)
    await asyncio.gather(run(batches, 0, 1, key="a"), run(batches, 2, 3, key="b"))
    assert process.served == [[0, 1], [2, 3]]


async def test_each_item_hears_what_concerns_it() -> None:
    process = Process()
    process.answer = lambda index: None if index == 1 else outcome(index)
    assert await run(Batches(2, LONG_S, process.serve), 0, 1) == [outcome(0), None]


async def test_a_failure_to_serve_is_heard_by_all() -> None:
    async def fail(take: Take) -> Sequence[ItemOutcome]:
        raise LookupError("no process")

    batches = Batches(2, LONG_S, fail)
    both = (batches.run("k", task(0)), batches.run("k", task(1)))
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError, LookupError]


async def test_an_item_that_leaves_makes_room_for_another() -> None:
    process = Process()
    batches = Batches(3, LONG_S, process.serve)
    first, second = (asyncio.ensure_future(batches.run("k", task(n))) for n in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await run(batches, 2, 3) == [outcome(2), outcome(3)]
    assert await second == outcome(1)
    assert process.served == [[1, 2, 3]]


async def test_a_batch_that_all_have_left_is_not_served() -> None:
    process = Process()
    batches = Batches(3, SHORT_S, process.serve)
    lonely = asyncio.ensure_future(batches.run("k", task(0)))
    await asyncio.sleep(0)
    lonely.cancel()
    await asyncio.gather(lonely, return_exceptions=True)
    assert await run(batches, 1) == [outcome(1)]
    assert process.served == [[1]]


async def test_stopping_gives_up_what_waits() -> None:
    batches = Batches(3, LONG_S, Process().serve)
    lonely = asyncio.ensure_future(batches.run("k", task(0)))
    await asyncio.sleep(0)
    await batches.stop()
    with pytest.raises(asyncio.CancelledError):
        await lonely


CUT = ("remove-background", {"model": "u2netp"})
SMALL = ("transform", {"steps": [{"do": "resize", "width": 32}]})
TINY = ("transform", {"steps": [{"do": "resize", "width": 16}]})


def key(*steps: tuple[str, dict], **fields: str) -> str | None:
    return batch_key(ItemTask("job-1", 0, steps, **({"key": "uploads/job-1/0"} | fields)))


async def test_params_that_do_not_concern_the_model_may_differ() -> None:
    mask = ("remove-background", {"model": "u2netp", "only_mask": True})
    assert key(CUT) == key(mask) is not None
    assert key(CUT, SMALL) == key(mask, TINY) is not None


@pytest.mark.parametrize(
    "other",
    [
        [("remove-background", {"model": "u2net"})],
        [("remove-background", {"model": "u2netp", "precision": "exact"})],
        [("remove-background", {"model": "u2netp", "alpha_matting": True})],
        [("detect-objects", {"model": "u2netp"})],
        [CUT, SMALL],
        [SMALL, CUT],
    ],
    ids=str,
)
async def test_what_concerns_the_model_keeps_apart(other: list[tuple[str, dict]]) -> None:
    assert key(*other) not in (None, key(CUT))


async def test_what_runs_alone() -> None:
    assert key(SMALL) is None, "it has no model"
    assert key(("read-text", {})) is None
    assert key(CUT, ("read-text", {})) is None
    assert key(("levitate", {})) is None
    assert batch_key(ItemTask("job-1", 0, (CUT,), url="https://example.org/a.jpg")) is None


async def test_params_of_any_shape_are_compared() -> None:
    # They are judged later; other producers may send what they like.
    assert key(("detect-objects", {"model": ["a"]})) != key(("detect-objects", {"model": "a"}))
