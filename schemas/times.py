"""Timestamps as the contract writes them: RFC 3339, UTC, milliseconds.

In this one form they order as strings, so states and indexes compare them without parsing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

DAY_S = 86_400
DAY_MS = DAY_S * 1000


def now() -> str:
    """Return the current time as a timestamp."""
    return from_epoch(time.time())


def from_epoch(seconds: float) -> str:
    """Return the timestamp of a Unix time in seconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    # Six timestamps a job fall into the same second or two; formatting one costs 2 us.
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def to_epoch(timestamp: str) -> float:
    """Return the Unix time in seconds of a timestamp.

    Raises:
        ValueError: it is not a timestamp.
    """
    return datetime.fromisoformat(timestamp).timestamp()


def canonical(timestamp: str) -> str:
    """Return the timestamp in the contract's form, whatever zone or precision it was written in.

    An empty one means that the time is unknown, and stays empty.

    Raises:
        ValueError: it is not a timestamp, or names no zone.
    """
    if not timestamp:
        return timestamp
    moment = datetime.fromisoformat(timestamp)
    if len(timestamp) == 24 and timestamp[-1] == "Z":
        return timestamp
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return from_epoch(moment.timestamp())


# Others may publish events too: a field that is not a time is refused when the event is decoded,
# not later when the time is first computed with.
Timestamp = Annotated[str, AfterValidator(canonical)]


def elapsed_ms(start: str, end: str) -> float:
    """Return the milliseconds from start to end, 0 if the start is unknown (empty).

    Never negative: the clocks of two machines may disagree.
    """
    return max(0.0, round((to_epoch(end) - to_epoch(start)) * 1000, 1)) if start else 0.0
