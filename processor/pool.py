"""The inference processes: a crash, a hang or a hunger for memory ends one item, not the worker."""

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

from imagemill.logs import configure_logging
from imagemill.settings import ProcessorSettings
from processor.work import ItemOutcome, ItemTask, Workbench
from schemas.errors import ErrorCode, JobError

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 120.0
_START_AGAIN_S = 1.0
_PARENT_CHECK_S = 1.0
# What an inference process has; None in the worker itself.
_workbench: Workbench | None = None


class InferencePool:
    """Processes that run one item each, with a time and a memory limit; dead ones are replaced.

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
        self.ready = False

    async def start(self) -> None:
        """Start all processes and wait until each has its default model loaded and warm.

        Raises:
            TimeoutError: they did not come up in two minutes.
            BrokenProcessPool: one ended while it started; its traceback is in the log.
        """
        began = time.monotonic()
        started = await asyncio.gather(*(self._start_one() for _ in range(self._settings.slots)))
        for process in started:
            self._free.put_nowait(process)
        self.ready = True
        took = time.monotonic() - began
        log.info("%d inference processes are warm after %.1f s", self._settings.slots, took)

    async def run(self, task: ItemTask) -> ItemOutcome:
        """Run an item in the next free process. An error of any kind is an outcome."""
        # Each may have died while it was idle; the item has not begun then.
        for _ in range(self._settings.slots + 1):
            outcome = await self._run_in(await self._free.get(), task)
            if outcome is not None:
                return outcome
        return _failed(ErrorCode.WORKER_CRASHED, "The processes that run items keep dying.")

    async def _run_in(self, process: ProcessPool, task: ItemTask) -> ItemOutcome | None:
        """The outcome, or None when the process turns out to be dead already."""
        sound = False
        limit_s = self._settings.item_timeout_s
        try:
            future = process.schedule(_run_item, args=[task], timeout=limit_s)
            outcome: ItemOutcome = await asyncio.wrap_future(future)
            sound = True
            return outcome
        except TimeoutError:
            return _failed(ErrorCode.TIMEOUT, f"The item did not end within {limit_s:g} s.")
        except ProcessExpired as exc:
            log.error("inference process %s died with exit code %s", exc.pid, exc.exitcode)
            return _failed(ErrorCode.WORKER_CRASHED, _how_it_died(exc.exitcode))
        except RuntimeError as exc:  # BrokenProcessPool, or what schedule() makes of it
            log.warning("an inference process died while it was idle: %s", exc)
            return None
        finally:
            if sound:
                self._free.put_nowait(process)
            else:
                self._replace(process)

    def _replace(self, process: ProcessPool) -> None:
        replacing = asyncio.ensure_future(self._exchange(process))
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    async def _exchange(self, process: ProcessPool) -> None:
        """End what is left of a process, and add a new one when it is warm."""
        await asyncio.to_thread(_end, process)
        self._all.discard(process)
        while True:
            try:
                self._free.put_nowait(await self._start_one())
            except (TimeoutError, RuntimeError) as exc:
                log.error("an inference process did not start: %r", exc)
                await asyncio.sleep(_START_AGAIN_S)
            else:
                return

    async def _start_one(self) -> ProcessPool:
        process = ProcessPool(
            max_workers=1,
            context=self._context,
            initializer=_start_process,
            initargs=(self._settings, os.getpid()),
        )
        self._all.add(process)
        try:
            # The first call launches the process, which takes some milliseconds.
            future = await asyncio.to_thread(process.schedule, _is_warm)
            await asyncio.wait_for(asyncio.wrap_future(future), _START_TIMEOUT_S)
        except BaseException:
            self._all.discard(process)
            await asyncio.to_thread(_end, process)
            raise
        return process

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the processes; items that still run after the grace are given up."""
        self.ready = False
        for replacing in tuple(self._replacing):
            replacing.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.to_thread(_end_all, tuple(self._all), time.monotonic() + grace_s)
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
    process.join()


def _how_it_died(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "The process that ran the item was killed, perhaps because memory ran out."
    return "The process that ran the item crashed."


def _failed(code: ErrorCode, message: str) -> ItemOutcome:
    return ItemOutcome(error=JobError.of(code, message))


def _start_process(settings: ProcessorSettings, parent: int) -> None:
    """Once in every inference process: limits, and what items need, loaded and warm."""
    global _workbench
    # The worker decides when we stop: Ctrl-C goes to the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings)
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    _limit_memory(settings.item_memory_bytes)
    _workbench = Workbench(settings)
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


def _is_warm() -> None:
    """Its result says that the process has started."""


def _run_item(task: ItemTask) -> ItemOutcome:
    if _workbench is None:
        raise RuntimeError("the process has not been started")
    return _workbench.run_item(task)
