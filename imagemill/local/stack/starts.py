"""Starts of the supervised processes: counted, and recognised when they come in a loop."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from imagemill.local.layout import Layout

# So many starts in that time, the last of them this recent, are a loop. A service that somebody
# killed once, or that crashes once an hour, is none.
_LOOP_STARTS = 3
_LOOP_WINDOW_S = 120.0
_LOOP_LAST_S = 30.0
# Bytes of a log that are searched for the error of the last run.
_MAX_SEARCHED_BYTES = 64 * 1024
_ERROR_LINE = re.compile(r"\b(ERROR|FATAL|CRITICAL)\b|Error\b|Exception\b|^imagemill: ")


class Start(NamedTuple):
    """One start of a process: Unix seconds, its id, and how long its log was then, in bytes."""

    at: float
    pid: int
    log_bytes: int | None


def record_start(layout: Layout, name: str) -> None:
    """Note that this process starts as the named service."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        log_bytes = layout.log(name).stat().st_size
    except FileNotFoundError:
        log_bytes = 0
    with layout.starts(name).open("a") as file:
        file.write(f"{now} {os.getpid()} {log_bytes}\n")


def read_starts(layout: Layout, name: str) -> list[Start]:
    """Read all starts of a service since the system was brought up, oldest first."""
    try:
        lines = layout.starts(name).read_text().splitlines()
    except FileNotFoundError:
        return []
    starts = []
    for line in lines:
        at, pid, *log_bytes = line.split()
        seconds = datetime.fromisoformat(at).timestamp()
        starts.append(Start(seconds, int(pid), int(log_bytes[0]) if log_bytes else None))
    return starts


def in_a_loop(starts: Sequence[Start], now: float | None = None) -> bool:
    """Return whether a service starts again and again; `now` is in Unix seconds."""
    now = time.time() if now is None else now
    if len(starts) < _LOOP_STARTS:
        return False
    first, last = starts[-_LOOP_STARTS], starts[-1]
    return now - first.at <= _LOOP_WINDOW_S and now - last.at <= _LOOP_LAST_S


def last_error(layout: Layout, name: str, starts: Sequence[Start]) -> str:
    """Return the line of the log that says why the last run ended; empty if there is none.

    That is the first line with an error, since those after it are consequences, else the last.
    """
    try:
        with layout.log(name).open("rb") as log:
            begin, end = _last_run(starts, log.seek(0, os.SEEK_END))
            log.seek(max(begin, end - _MAX_SEARCHED_BYTES))
            text = log.read(end - log.tell()).decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.search(line)]
    return errors[0] if errors else (lines or [""])[-1]


def _last_run(starts: Sequence[Start], size: int) -> tuple[int, int]:
    """Return where in a log of that size the run before the present one begins and ends."""
    marks = [start.log_bytes for start in starts[-2:]]
    if len(marks) < 2 or marks[0] is None or marks[1] is None or not marks[0] < marks[1] <= size:
        # The log was rotated between the starts, or the runs left no mark.
        return 0, size
    return marks[0], marks[1]
