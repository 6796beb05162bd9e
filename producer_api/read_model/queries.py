"""Reads jobs from the projection's file."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.errors import InvalidCursor
from producer_api.read_model.schema import open_reader
from schemas.events import JobSubmitted
from schemas.jobs import (
    LETTERS,
    MAX_ITEMS,
    STATUS_OF_LETTER,
    Item,
    ItemInput,
    Job,
    JobState,
    JobStatus,
)
from schemas.reducer import complete_items
from schemas.times import from_epoch, to_epoch

# Longer than any item runs.
_CANCELLED_GRACE_S = 3600.0

# With more than 64 bits it cannot be written again, neither in an answer nor in an event.
_LONG_NUMBER = re.compile(rb"\d{19}")

log = logging.getLogger(__name__)

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class JobRecord:
    """A job as a reader sees it: its state, its items in order, and its inputs where known."""

    state: JobState
    items: tuple[Item, ...]
    inputs: tuple[ItemInput, ...]

    @classmethod
    def of_submission(cls, job: JobSubmitted) -> JobRecord:
        """A job that was accepted and of which nothing else is known yet."""
        outcomes = LETTERS[JobStatus.QUEUED] * job.total
        state = JobState.trusted(**job.header().__dict__, outcomes=outcomes)
        return cls(state, complete_items(state, {}, job.inputs), job.inputs)


class Cursor(NamedTuple):
    """The last job of a page: the next page begins after it, whatever was added meanwhile."""

    created_at: str
    job_id: str

    def encode(self) -> str:
        """The cursor as clients carry it."""
        return base64.urlsafe_b64encode("/".join(self).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """The cursor that a client brought back. Raises InvalidCursor."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, UnicodeError, ValueError) as error:
            raise InvalidCursor(text) from error
        created_at, slash, job_id = raw.partition("/")
        if not slash:
            raise InvalidCursor(text)
        return cls(created_at, job_id)


@dataclass(frozen=True)
class ListFilter:
    """Which jobs to list; empty fields do not filter. Times are timestamps, `until` is excluded."""

    statuses: Sequence[str] = ()
    operations: Sequence[str] = ()
    since: str = ""
    until: str = ""


class Totals(NamedTuple):
    """Jobs by status, priority and operation; the oldest queued one's creation; recent events."""

    counts: list[tuple[str, str, str, int]]
    oldest_queued: str | None
    submitted: int
    ended: int


class Claim(NamedTuple):
    """Who may make a job of an id until when; see JobClaimed."""

    fingerprint: str
    claim_id: str
    ends_at: str


class ExpiredJob(NamedTuple):
    """An ended job whose time is over."""

    number: int
    job_id: str
    operation: str
    ended_at: str


class ProjectionReader:
    """Reads for one thread at a time; a lock serves callers from several."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error when there is no such file."""
        self._connection = open_reader(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def job(self, job_id: str) -> JobRecord | None:
        """The job, or None when it is not known here."""
        with self._lock:
            row = self._connection.execute(
                "SELECT submitted, state FROM jobs WHERE job_id = ?", (job_id,)
            ).fetchone()
            return None if row is None else self._record(job_id, *row)

    def claim(self, job_id: str) -> Claim | None:
        """The first claim of an id that came; it may have ended."""
        with self._lock:
            row = self._connection.execute(
                "SELECT fingerprint, claim_id, ends_at FROM claims WHERE job_id = ?", (job_id,)
            ).fetchone()
        return None if row is None else Claim(*row)

    def jobs(
        self, wanted: ListFilter, limit: int, after: Cursor | None = None
    ) -> tuple[list[JobRecord], Cursor | None]:
        """A page of jobs, newest first, and the cursor of the next page if there is one."""
        where, values = _conditions(wanted, after)
        with self._lock:
            rows = self._connection.execute(
                f"SELECT job_id, created_at, submitted, state FROM jobs {where} "
                "ORDER BY created_at DESC, job_id DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            found = [self._record(row[0], row[2], row[3]) for row in rows[:limit]]
        records = [record for record in found if record is not None]
        last = rows[limit - 1] if len(rows) > limit else None
        return records, Cursor(last[1], last[0]) if last else None

    def count(self, status: JobStatus) -> int:
        """Jobs in that status."""
        with self._lock:
            return self._connection.execute(
                "SELECT coalesce(sum(jobs), 0) FROM counts WHERE status = ?", (status.value,)
            ).fetchone()[0]

    def totals(self, since: str) -> Totals:
        """Counts for statistics; rates are over the time since that timestamp."""
        with self._lock:
            counts = self._connection.execute(
                "SELECT status, priority, operation, jobs FROM counts WHERE jobs > 0"
            ).fetchall()
            oldest, submitted, ended = self._connection.execute(
                "SELECT (SELECT min(created_at) FROM jobs WHERE status = 'queued'),"
                " (SELECT count(*) FROM jobs WHERE created_at >= ?),"
                " (SELECT count(*) FROM jobs WHERE ended_at >= ?)",
                (since, since),
            ).fetchone()
        return Totals(counts, oldest, submitted, ended)

    def expired(self, horizon: RetentionCutoff, after: int, limit: int) -> list[ExpiredJob]:
        """Ended jobs whose time is over, in order of their number, those above `after`.

        A cancelled job stays for an hour after its end, however soon it was to expire: the item
        that was under way ends later, and without a state to absorb that it would end the job anew.
        """
        settled = from_epoch(to_epoch(horizon.now) - _CANCELLED_GRACE_S)
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, job_id, operation, ended_at FROM jobs"
                " WHERE ended_at IS NOT NULL AND (ended_at < ? OR expires_at < ?)"
                " AND (status != 'cancelled' OR ended_at < ?)"
                " AND number > ? ORDER BY number LIMIT ?",
                (horizon.oldest, horizon.now, settled, after, limit),
            ).fetchall()
        return [ExpiredJob(*row) for row in rows]

    def document(self, kind: str, name: str) -> bytes | None:
        """The latest message of that key on the compacted topic `kind`."""
        with self._lock:
            row = self._connection.execute(
                "SELECT document FROM documents WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return row[0] if row else None

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """The latest message of every key on the compacted topic `kind`, by key."""
        with self._lock:
            return self._connection.execute(
                "SELECT name, document FROM documents WHERE kind = ? ORDER BY name", (kind,)
            ).fetchall()

    def _record(
        self, job_id: str, submitted: bytes | None, raw_state: bytes | None
    ) -> JobRecord | None:
        """The job of a row; None when neither of its documents can be read."""
        job = readable(job_id, JobSubmitted, submitted)
        state = _consistent(readable(job_id, JobState, raw_state))
        if state is None:
            return None if job is None else JobRecord.of_submission(job)
        if job is not None and not state.total:
            header = {name: getattr(job, name) for name in Job.model_fields}
            outcomes = state.outcomes.ljust(job.total, LETTERS[JobStatus.QUEUED])
            state = state.model_copy(update=header | {"outcomes": outcomes})
        inputs = job.inputs if job else ()
        items = state.items or complete_items(state, self._items(job_id), inputs)
        return JobRecord(state, items, inputs)

    def _items(self, job_id: str) -> dict[int, Item]:
        rows = self._connection.execute(
            "SELECT item, document FROM items WHERE job_id = ?", (job_id,)
        )
        found = {index: readable(job_id, Item, document) for index, document in rows}
        return {
            index: item for index, item in found.items() if item is not None and item.index == index
        }


def readable(name: str, model: type[Document], document: bytes | None) -> Document | None:
    """The document of that name; None when there is none, or it is damaged where the feed does
    not look."""
    if document is None:
        return None
    try:
        read = model.model_validate_json(document)
        if _LONG_NUMBER.search(document):
            orjson.dumps(read.model_dump(mode="json"))
    except (ValidationError, TypeError) as error:
        log.warning("The %s %s cannot be read: %s", model.__name__, name, error)
        return None
    return read


def _consistent(state: JobState | None) -> JobState | None:
    """The state; None when it has outcomes or items that no job has, as a stranger's may."""
    if state is None or (
        STATUS_OF_LETTER.keys() >= set(state.outcomes)
        and all(0 <= item.index < MAX_ITEMS for item in state.items)
    ):
        return state
    log.warning("The state of job %s cannot be read: it contradicts itself", state.job_id)
    return None


def _conditions(wanted: ListFilter, after: Cursor | None) -> tuple[str, list[str]]:
    parts: list[str] = []
    values: list[str] = []
    for column, allowed in (("status", wanted.statuses), ("operation", wanted.operations)):
        if allowed:
            parts.append(f"{column} IN ({', '.join('?' * len(allowed))})")
            values += allowed
    for comparison, moment in (("created_at >= ?", wanted.since), ("created_at < ?", wanted.until)):
        if moment:
            parts.append(comparison)
            values.append(moment)
    if after is not None:
        parts.append("(created_at, job_id) < (?, ?)")
        values += after
    return ("WHERE " + " AND ".join(parts) if parts else ""), values
