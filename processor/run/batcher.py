"""Collect items that may share the calls of their models, and run them as one batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from processor.run.item import ItemOutcome, ItemTask
from schemas.catalog import find_operation

Take = Callable[[], list[ItemTask]]
"""Closes the batch and returns its items whose callers still wait."""
Serve = Callable[[Take], Awaitable[Sequence[ItemOutcome | None]]]
"""Calls its argument once a process is free, runs those items, and returns their outcomes in order.

None stands for an item that has to be run again alone.
"""


def batch_key(task: ItemTask) -> str | None:
    """Return the key that items of one batch have in common, or None if the item runs alone.

    An item whose image is behind a URL runs alone: a slow server would delay the whole batch.
    """
    specs = [find_operation(name) for name, _ in task.steps]
    if task.key is None or not any(spec and spec.batch_by for spec in specs):
        return None
    kinds = []
    for spec, (name, params) in zip(specs, task.steps, strict=True):
        if spec is None or spec.batch_by is None:
            return None
        kinds.append([name, *(params.get(param) for param in spec.batch_by)])
    return json.dumps(kinds)


# An item and the future of its outcome.
_Place = tuple[ItemTask, asyncio.Future[ItemOutcome | None]]


@dataclass(eq=False)
class _Batch:
    """Items that wait together, and the task that runs them."""

    full: asyncio.Event = field(default_factory=asyncio.Event)
    places: list[_Place] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None

    def wanted(self) -> list[_Place]:
        return [(task, future) for task, future in self.places if not future.done()]


class Batches:
    """Open batches by key, at most one per key.

    A batch asks for a process when it has `size` items, or `delay_s` seconds after its first item.
    It takes further items until a process is free for it.
    """

    def __init__(self, size: int, delay_s: float, serve: Serve) -> None:
        self._size = size
        self._delay_s = delay_s
        self._serve = serve
        self._open: dict[str, _Batch] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self, key: str, task: ItemTask) -> ItemOutcome | None:
        """Return the item's outcome, or None if it has to be run again alone.

        Cancelling one caller does not disturb the others; cancelling the last cancels the batch.
        """
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = _Batch()
            self._begin(key, batch)
        future: asyncio.Future[ItemOutcome | None] = asyncio.get_running_loop().create_future()
        batch.places.append((task, future))
        if len(batch.wanted()) >= self._size:
            self._close(key, batch)
        try:
            return await future
        finally:
            if future.cancelled() and not batch.wanted() and batch.serving:
                self._close(key, batch)
                batch.serving.cancel()

    def _begin(self, key: str, batch: _Batch) -> None:
        serving = batch.serving = asyncio.ensure_future(self._run_batch(key, batch))
        self._serving.add(serving)

        def ended(_: asyncio.Task[None]) -> None:
            # Runs also if the task was cancelled before its first step.
            self._serving.discard(serving)
            self._close(key, batch)
            for _, future in batch.wanted():
                future.cancel()

        serving.add_done_callback(ended)

    def _close(self, key: str, batch: _Batch) -> None:
        if self._open.get(key) is batch:
            del self._open[key]
        batch.full.set()

    async def _run_batch(self, key: str, batch: _Batch) -> None:
        taken: list[_Place] = []

        def take() -> list[ItemTask]:
            self._close(key, batch)
            taken[:] = batch.wanted()
            return [task for task, _ in taken]

        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._delay_s):
                    await batch.full.wait()
            outcomes = await self._serve(take)
        except Exception as error:  # noqa: BLE001 raised again by every caller
            for _, future in batch.wanted():
                future.set_exception(error)
        else:
            for (_, future), outcome in zip(taken, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    async def stop(self) -> None:
        """Cancel every batch, waiting or running."""
        for serving in tuple(self._serving):
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
