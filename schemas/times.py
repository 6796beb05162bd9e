"""Timestamps as the contract writes them: RFC 3339, UTC, milliseconds.

In this one form they order as strings, so states and indexes compare them without parsing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


def now() -> str:
    """The present moment."""
    return from_epoch(time.time())


def from_epoch(seconds: float) -> str:
    """The timestamp of a Unix time in seconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    # Six timestamps a job fall into the same second or two; formatting one costs 2 us.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_epoch(timestamp: str) -> float:
    """Unix time in seconds of a timestamp; ValueError when it is none."""
    return datetime.fromisoformat(timestamp).timestamp()


def elapsed_ms(start: str, end: str) -> float:
    """Milliseconds from start to end, never negative (clocks of two machines may disagree).

    0 when the start is not known (empty).
    """
    return max(0.0, round((to_epoch(end) - to_epoch(start)) * 1000, 1)) if start else 0.0
