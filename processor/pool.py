"""The inference processes: a crash, a hang or a hunger for memory ends one item, not the worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

from pebble import ProcessExpired, ProcessPool

from imagemill.logs import configure_logging
from imagemill.settings import ProcessorSettings
from processor.work import ItemOutcome, ItemTask, Workbench
from schemas.errors import ErrorCode, JobError

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 120.0
_PARENT_CHECK_S = 1.0
# What an inference process has; both are None in the worker itself.
_workbench: Workbench | None = None
_started: Any = None


class InferencePool:
    """Processes that run one item each, with a time and a memory limit; dead ones are replaced."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        # Not forked: this process runs threads, and OpenVINO's do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(
            max_workers=settings.slots,
            context=context,
            initializer=_start_process,
            initargs=(settings, os.getpid(), context.Barrier(settings.slots)),
        )
        self.ready = False

    async def start(self) -> None:
        """Start all processes and wait until each has its default model loaded and warm.

        Raises:
            TimeoutError: they did not come up in two minutes.
        """
        began = time.monotonic()
        futures = [
            self._pool.schedule(_meet, args=[index]) for index in range(self._settings.slots)
        ]
        # The processes wait for each other in these tasks, so none takes two of them.
        waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
        await asyncio.wait_for(waiting, _START_TIMEOUT_S)
        self.ready = True
        took = time.monotonic() - began
        log.info("%d inference processes are warm after %.1f s", self._settings.slots, took)

    async def run(self, task: ItemTask) -> ItemOutcome:
        """Run an item in one of the processes. An error of any kind is an outcome."""
        future: Future[ItemOutcome] = self._pool.schedule(
            _run_item, args=[task], timeout=self._settings.item_timeout_s
        )
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError:
            limit = f"{self._settings.item_timeout_s:g} s"
            return _failed(ErrorCode.TIMEOUT, f"The item did not end within {limit}.")
        except ProcessExpired as exc:
            log.error("inference process %s died with exit code %s", exc.pid, exc.exitcode)
            return _failed(ErrorCode.WORKER_CRASHED, "The process that ran the item crashed.")

    async def stop(self, grace_s: float = 5.0) -> None:
        """End the processes; items that still run after the grace are given up."""
        self.ready = False
        self._pool.close()
        try:
            await asyncio.to_thread(self._pool.join, grace_s)
        except TimeoutError:
            self._pool.stop()
            await asyncio.to_thread(self._pool.join)


def _failed(code: ErrorCode, message: str) -> ItemOutcome:
    return ItemOutcome(error=JobError.of(code, message))


def _start_process(settings: ProcessorSettings, parent: int, started: Any) -> None:
    """Once in every inference process: limits, and what items need, loaded and warm."""
    global _workbench, _started
    # The worker decides when we stop: Ctrl-C goes to the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings)
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    _limit_memory(settings.item_memory_bytes)
    _started = started
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


def _meet(_index: int) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):
        _started.wait(_START_TIMEOUT_S)


def _run_item(task: ItemTask) -> ItemOutcome:
    if _workbench is None:
        raise RuntimeError("the process has not been started")
    return _workbench.run_item(task)
