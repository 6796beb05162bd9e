"""Timestamps as the contract writes them: RFC 3339, UTC, milliseconds.

In this one form they order as strings, so states and indexes compare them without parsing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> str:
    """The present moment."""
    return from_epoch(time.time())


def from_epoch(seconds: float) -> str:
    """The timestamp of a Unix time in seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def to_epoch(timestamp: str) -> float:
    """Unix time in seconds of a timestamp; ValueError when it is none."""
    return datetime.fromisoformat(timestamp).timestamp()


def elapsed_ms(start: str, end: str) -> float:
    """Milliseconds from start to end, never negative (clocks of two machines may disagree)."""
    return max(0.0, round((to_epoch(end) - to_epoch(start)) * 1000, 1))
