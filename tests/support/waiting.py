"""Wait for a condition, for a limited time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
DEADLINE_S = 20.0
_POLL_S = 0.02


def wait_until(
    read: Callable[[], Value],
    accept: Callable[[Value], bool] = bool,
    timeout_s: float = DEADLINE_S,
    *,
    what: str = "",
) -> Value:
    """Return the first value read that is accepted, by default the first truthy one.

    Raises:
        AssertionError: none was within `timeout_s` seconds; the message has `what` was waited for
            and the last value.
    """
    deadline = time.monotonic() + timeout_s
    while not accept(value := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: still {value!r} after {timeout_s} s".removeprefix(": "))
        time.sleep(_POLL_S)
    return value


async def wait_until_async(
    read: Callable[[], Value],
    accept: Callable[[Value], bool] = bool,
    timeout_s: float = DEADLINE_S,
) -> Value:
    """Do as `wait_until`, in a thread: meanwhile the event loop runs its other tasks.

    Raises:
        AssertionError: no value was accepted within `timeout_s` seconds.
    """
    return await asyncio.to_thread(wait_until, read, accept, timeout_s)
