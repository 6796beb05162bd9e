"""The inference processes: a crash, a hang or a hunger for memory ends one item, not the worker.

Where models take several pictures in a call, a process is handed several items at once. What goes
wrong with them together says nothing about any of them, so each is run again alone and judged by
that.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time

from pebble import ProcessExpired, ProcessPool

from imagemill.process.logs import configure_logging
from imagemill.settings import ProcessorSettings
from processor.run.batcher import Batches, Take, batch_key
from processor.run.item import ItemOutcome, ItemProcessor, ItemTask
from schemas.errors import ErrorCode, JobError

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 120.0
_START_AGAIN_S = 1.0
_PARENT_CHECK_S = 1.0
_READER_END_S = 1.0
# What an inference process has; None in the worker itself.
_workbench: ItemProcessor | None = None


class InferencePool:
    """Processes that run items, with a time and a memory limit; dead ones are replaced.

    Every process is a pebble pool of one, thrown away with it. In a shared pool the processes take
    turns at one pipe: one that is killed in its turn would block the others for ever; and pebble
    gives a pool up for good when a process of it dies idle.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        # Not forked: this process runs threads, and OpenVINO's do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._all: set[ProcessPool] = set()
        self._free: asyncio.Queue[ProcessPool] = asyncio.Queue()
        self._replacing: set[asyncio.Task[None]] = set()
        self._batch_limit = 1
        self._batches = Batches(1, 0, self._serve)
        # The keys of items that profit from a batch, as the last one of each has shown.
        self._batching: set[str] = set()
        self.ready = False

    @property
    def slots(self) -> int:
        """Items that run at once, and so calls of run() that the pool has use for."""
        return self._settings.processes * self._batch_limit

    async def start(self) -> None:
        """Start all processes and wait until each has its default model loaded and warm.

        Raises:
            TimeoutError: they did not come up in two minutes.
            BrokenProcessPool: one ended while it started; its traceback is in the log.
        """
        began = time.monotonic()
        count = self._settings.processes
        started = await asyncio.gather(*(self._start_one() for _ in range(count)))
        self._batch_limit = min(limit for _, limit in started)
        delay_s = self._settings.batch_delay_ms / 1000
        self._batches = Batches(self._batch_limit, delay_s, self._serve)
        for process, _ in started:
            self._free.put_nowait(process)
        self.ready = True
        took = time.monotonic() - began
        log.info("%d inference processes are warm after %.1f s", count, took)
        if self._batch_limit > 1:
            log.info("up to %d items share a model's call", self._batch_limit)

    async def run(self, task: ItemTask) -> ItemOutcome:
        """Run an item in a free process, alone or in a batch. An error is an outcome too."""
        key = batch_key(task) if self._batch_limit > 1 else None
        outcome = await self._batches.run(key, task) if key in self._batching else None
        if outcome is None:
            [outcome] = await self._serve(lambda: [task])
        if key is not None and outcome.error is None:
            (self._batching.add if outcome.batches else self._batching.discard)(key)
        return outcome

    async def _serve(self, take: Take) -> list[ItemOutcome | None]:
        """Run what `take` gives in the next free process; of several, None for one to run alone."""
        # Each may have died while it was idle; the items have not begun then.
        for _ in range(self._settings.processes + 1):
            process = await self._free.get()
            tasks = take()
            if not tasks:
                self._free.put_nowait(process)
                return []
            outcomes = await self._run_in(process, tasks)
            if outcomes is not None:
                return outcomes
        message = "The processes that run items keep dying."
        return [_failed(ErrorCode.WORKER_CRASHED, message)] * len(tasks)

    async def _run_in(
        self, process: ProcessPool, tasks: list[ItemTask]
    ) -> list[ItemOutcome | None] | None:
        """The outcomes, or None when the process turns out to be dead already."""
        sound = False
        limit_s = self._settings.item_timeout_s
        try:
            # The time limit is an item's: if a batch needs longer, its items get it one by one.
            future = process.schedule(_run_items, args=[tasks], timeout=limit_s)
            outcomes: list[ItemOutcome] = await asyncio.wrap_future(future)
            sound = True
            return _judged(outcomes)
        except TimeoutError:
            return _ended(tasks, ErrorCode.TIMEOUT, f"The item did not end within {limit_s:g} s.")
        except ProcessExpired as error:
            log.error("inference process %s died with exit code %s", error.pid, error.exitcode)
            return _ended(tasks, ErrorCode.WORKER_CRASHED, _how_it_died(error.exitcode))
        except RuntimeError as error:  # BrokenProcessPool, or what schedule() makes of it
            log.warning("an inference process died while it was idle: %s", error)
            return None
        finally:
            if sound:
                self._free.put_nowait(process)
            else:
                self._replace(process)

    def _replace(self, process: ProcessPool) -> None:
        if not self.ready:
            return  # stop() ends all of them
        replacing = asyncio.ensure_future(self._exchange(process))
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    async def _exchange(self, process: ProcessPool) -> None:
        """End what is left of a process, and add a new one when it is warm."""
        await asyncio.to_thread(_end, process)
        self._all.discard(process)
        while True:
            try:
                started, _ = await self._start_one()
                self._free.put_nowait(started)
            except (TimeoutError, RuntimeError) as error:
                log.error("an inference process did not start: %r", error)
                await asyncio.sleep(_START_AGAIN_S)
            else:
                return

    async def _start_one(self) -> tuple[ProcessPool, int]:
        """A warm process, and how many items it takes at once."""
        process = ProcessPool(
            max_workers=1,
            context=self._context,
            initializer=_start_process,
            initargs=(self._settings, os.getpid()),
        )
        self._all.add(process)
        try:
            # The first call launches the process, which takes some milliseconds.
            future = await asyncio.to_thread(process.schedule, _batch_limit)
            limit = await asyncio.wait_for(asyncio.wrap_future(future), _START_TIMEOUT_S)
        except BaseException:
            self._all.discard(process)
            await asyncio.to_thread(_end, process)
            raise
        return process, limit

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the processes; items that still run after the grace are given up."""
        self.ready = False
        for replacing in tuple(self._replacing):
            replacing.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.to_thread(_end_all, tuple(self._all), time.monotonic() + grace_s)
        await self._batches.stop()
        self._all.clear()


def _end_all(processes: tuple[ProcessPool, ...], deadline: float) -> None:
    for process in processes:
        process.close()
    for process in processes:
        try:
            process.join(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            _end(process)


def _end(process: ProcessPool) -> None:
    process.stop()
    reader = process._message_manager_loop
    if reader is not None:
        # join() closes the pipes while this thread of pebble's may still read them: it then reads
        # those of the next process, which get their numbers, and that one never answers.
        reader.join(_READER_END_S)
    process.join()


def _how_it_died(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "The process that ran the item was killed, perhaps because memory ran out."
    return "The process that ran the item crashed."


def _failed(code: ErrorCode, message: str) -> ItemOutcome:
    return ItemOutcome(error=JobError.of(code, message))


def _ended(tasks: list[ItemTask], code: ErrorCode, message: str) -> list[ItemOutcome | None]:
    """What to say of items whose process was ended; of several, nobody knows whose fault it was."""
    if len(tasks) == 1:
        return [_failed(code, message)]
    log.warning("%d items are run again, one by one: %s", len(tasks), message)
    return [None] * len(tasks)


def _judged(outcomes: list[ItemOutcome]) -> list[ItemOutcome | None]:
    """The outcomes but for what others may be to blame for: the memory limit is an item's."""
    if len(outcomes) == 1:
        return [*outcomes]
    return [
        None if one.error is not None and one.error.code is ErrorCode.OUT_OF_MEMORY else one
        for one in outcomes
    ]


def _start_process(settings: ProcessorSettings, parent: int) -> None:
    """Once in every inference process: limits, and what items need, loaded and warm."""
    global _workbench
    # The worker decides when we stop: Ctrl-C goes to the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings)
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    _limit_memory(settings.item_memory_bytes)
    _workbench = ItemProcessor(settings)
    _workbench.warm()


def _limit_memory(limit: int) -> None:
    """Let allocations above the limit fail, so that the item fails and not the machine."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _follow_parent(parent: int) -> None:
    """End with the worker, also when it was killed without a word."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _batch_limit() -> int:
    """How many items the process takes at once. That it answers says that it has started."""
    return _started().batch_limit


def _run_items(tasks: list[ItemTask]) -> list[ItemOutcome]:
    return _started().run_items(tasks)


def _started() -> ItemProcessor:
    if _workbench is None:
        raise RuntimeError("the process has not been started")
    return _workbench
