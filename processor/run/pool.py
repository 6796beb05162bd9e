"""The inference processes: a crash, a hang or an exhausted memory limit ends one item only.

Where models take several pictures in a call, a process gets several items at once. A failure of the
process cannot be attributed to one of them, so each is run again alone.
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
_RESTART_BACKOFF_S = 1.0
_PARENT_CHECK_INTERVAL_S = 1.0
_READER_JOIN_TIMEOUT_S = 1.0
# Of an inference process; None in the worker itself.
_processor: ItemProcessor | None = None


class InferencePool:
    """Processes that run items, with a time and a memory limit; dead ones are replaced.

    Each process is a pebble pool of its own. Processes of a shared pool read from one pipe under a
    lock: one killed while it holds the lock would block the others for ever. And pebble closes a
    pool for good when one of its processes dies idle.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        # Not forked: OpenVINO's threads do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._all: set[ProcessPool] = set()
        self._free: asyncio.Queue[ProcessPool] = asyncio.Queue()
        self._replacing: set[asyncio.Task[None]] = set()
        self._batch_limit = 1
        self._batches = Batches(1, 0, self._serve)
        # Keys of items whose last outcome said that its model takes several pictures in a call.
        self._batching: set[str] = set()
        self.ready = False

    @property
    def slots(self) -> int:
        """The most items that run at once, and so the most useful concurrent calls of run()."""
        return self._settings.processes * self._batch_limit

    async def start(self) -> None:
        """Start all processes and wait until each has its default model loaded and warm.

        Raises:
            TimeoutError: a process is not warm after 120 s.
            BrokenProcessPool: a process ended while it started; its traceback is in the log.
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
            log.info("up to %d items share a call of a model", self._batch_limit)

    async def run(self, task: ItemTask) -> ItemOutcome:
        """Run an item in a free process, alone or in a batch; its failure is an outcome."""
        key = batch_key(task) if self._batch_limit > 1 else None
        outcome = await self._batches.run(key, task) if key in self._batching else None
        if outcome is None:
            [outcome] = await self._serve(lambda: [task])
        if key is not None and outcome.error is None:
            (self._batching.add if outcome.batches else self._batching.discard)(key)
        return outcome

    async def _serve(self, take: Take) -> list[ItemOutcome | None]:
        """Run the items of `take` in the next free process; None: run the item again alone."""
        # Every process may have died while idle; its items have not begun then.
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
        """Return the outcomes, or None if the process had died before it got the items."""
        healthy = False
        limit_s = self._settings.item_timeout_s
        try:
            # The limit is per item: items of a batch that needs longer are run again alone.
            future = process.schedule(_run_items, args=[tasks], timeout=limit_s)
            outcomes: list[ItemOutcome] = await asyncio.wrap_future(future)
            healthy = True
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
            if healthy:
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
        """End the rest of a process, and add a new one when it is warm."""
        await asyncio.to_thread(_end, process)
        self._all.discard(process)
        while True:
            try:
                started, _ = await self._start_one()
                self._free.put_nowait(started)
            except (TimeoutError, RuntimeError) as error:
                log.error("an inference process did not start: %r", error)
                await asyncio.sleep(_RESTART_BACKOFF_S)
            else:
                return

    async def _start_one(self) -> tuple[ProcessPool, int]:
        """Start a process; return it, warm, and the most items that it takes at once."""
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
        """End the processes, and kill those whose items still run after `grace_s` seconds."""
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
        # join() closes the pipes while this thread of pebble may still read them. The next process
        # gets pipes with the same descriptors: the thread would take its answers.
        reader.join(_READER_JOIN_TIMEOUT_S)
    process.join()


def _how_it_died(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "The process that ran the item was killed, perhaps because memory ran out."
    return "The process that ran the item crashed."


def _failed(code: ErrorCode, message: str) -> ItemOutcome:
    return ItemOutcome(error=JobError.of(code, message))


def _ended(tasks: list[ItemTask], code: ErrorCode, message: str) -> list[ItemOutcome | None]:
    """Return the outcomes of items whose process was ended; of several, none is to blame yet."""
    if len(tasks) == 1:
        return [_failed(code, message)]
    log.warning("%d items are run again, one by one: %s", len(tasks), message)
    return [None] * len(tasks)


def _judged(outcomes: list[ItemOutcome]) -> list[ItemOutcome | None]:
    """Return the outcomes, with None for errors that another item of the batch may have caused.

    The memory limit is meant for one item, and all items of a batch share it.
    """
    if len(outcomes) == 1:
        return [*outcomes]
    return [
        None if one.error is not None and one.error.code is ErrorCode.OUT_OF_MEMORY else one
        for one in outcomes
    ]


def _start_process(settings: ProcessorSettings, parent: int) -> None:
    """Set the limits of a new inference process, and load and warm the default model."""
    global _processor
    # Ctrl-C goes to the whole process group; the worker decides when this process stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings)
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    _limit_memory(settings.item_memory_bytes)
    _processor = ItemProcessor(settings)
    _processor.warm()


def _limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes fail, so that an item fails and not the machine."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _follow_parent(parent: int) -> None:
    """End this process when its parent has ended, also if that was killed."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_INTERVAL_S)
    os._exit(1)


def _batch_limit() -> int:
    """Return the most items that the process takes at once; an answer means that it is warm."""
    return _started().batch_limit


def _run_items(tasks: list[ItemTask]) -> list[ItemOutcome]:
    return _started().run_items(tasks)


def _started() -> ItemProcessor:
    if _processor is None:
        raise RuntimeError("the process has not been started")
    return _processor
