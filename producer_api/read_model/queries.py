"""The queries of the read model's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.listing import Cursor, ListFilter, condition
from producer_api.read_model.records import JobRecord
from producer_api.read_model.schema import Reader
from schemas.jobs import JobStatus
from schemas.times import from_epoch, to_epoch

# Seconds after its end that a cancelled job is kept at least; longer than any item runs.
_CANCELLED_KEPT_S = 3600.0
# One statement, since several would not see the file at one moment: a batch that ends between two
# would have lost its items.
_JOB = """
SELECT NULL, submitted, state FROM jobs WHERE job_id = ?
UNION ALL SELECT item, document, NULL FROM items WHERE job_id = ?
"""


class Totals(NamedTuple):
    """Statistics of all jobs, or of those of one owner."""

    counts: list[tuple[str, str, str, int]]
    """Jobs by status, priority and operation."""
    oldest_queued: str | None
    """The creation time of the queued job that waits longest."""
    submitted: int
    """Jobs made since the time asked for."""
    ended: int
    """Jobs ended since the time asked for."""


class OwnerUsage(NamedTuple):
    """The images that an owner submitted on a day."""

    images: int
    pixels: int
    """Pixels of those that were uploaded."""
    counted_ids: frozenset[str] = frozenset()
    """Jobs that were asked for and are counted in these."""


class ExpiredJob(NamedTuple):
    """An ended job that is older than the retention; `number` orders them."""

    number: int
    job_id: str
    operation: str
    ended_at: str


class ReadModelQueries:
    """Reads jobs, statistics and documents from the file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def job(self, job_id: str) -> JobRecord | None:
        """Return the job; None when it is not in the file."""
        rows = self._reader.all(_JOB, (job_id, job_id))
        if not rows or rows[0][0] is not None:
            return None
        (_, submitted, state), *items = rows
        return JobRecord.of_row(job_id, submitted, state, {row[0]: row[1] for row in items})

    def jobs(
        self, wanted: ListFilter, limit: int, after: Cursor | None = None
    ) -> tuple[list[JobRecord], Cursor | None]:
        """Return a page of jobs, newest first, and the next page's cursor if there is one."""
        where, values = condition(wanted, after)
        with self._reader.snapshot() as connection:
            rows = connection.execute(
                f"SELECT job_id, created_at, submitted, state FROM jobs {where} "
                "ORDER BY created_at DESC, job_id DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            found = [
                JobRecord.of_row(job_id, submitted, state, _items(connection, job_id))
                for job_id, _, submitted, state in rows[:limit]
            ]
        records = [record for record in found if record is not None]
        last = rows[limit - 1] if len(rows) > limit else None
        return records, Cursor(last[1], last[0]) if last else None

    def count(self, status: JobStatus) -> int:
        """Count the jobs in that status."""
        row = self._reader.one(
            "SELECT coalesce(sum(jobs), 0) FROM counts WHERE status = ?", (status.value,)
        )
        assert row is not None
        return row[0]

    def counts(self, owner: str | None = None) -> list[tuple[str, str, str, int]]:
        """Count jobs by status, priority and operation: all of them, or those of one owner."""
        where, values = _of_owner(owner)
        return self._reader.all(
            f"SELECT status, priority, operation, sum(jobs) FROM counts WHERE jobs > 0{where}"
            " GROUP BY 1, 2, 3",
            values,
        )

    def totals(self, since: str, owner: str | None = None) -> Totals:
        """Count jobs for statistics: all of them, or those of one owner.

        `since` is the timestamp that recent ones are counted from.
        """
        counts = self.counts(owner)
        where, values = _of_owner(owner)
        row = self._reader.one(
            f"SELECT (SELECT min(created_at) FROM jobs WHERE status = 'queued'{where}),"
            f" (SELECT count(*) FROM jobs WHERE created_at >= ?{where}),"
            f" (SELECT count(*) FROM jobs WHERE ended_at >= ?{where})",
            (*values, since, *values, since, *values),
        )
        assert row is not None
        return Totals(counts, *row)

    def usage(self, owner: str, day: str, asked_ids: Collection[str] = ()) -> OwnerUsage:
        """Count the images that an owner submitted on a day, and the pixels of uploaded ones.

        Args:
            owner: the owner.
            day: a date in UTC, such as 2026-01-31.
            asked_ids: jobs of which the answer says if they are counted in it.
        """
        marks = ", ".join("?" * len(asked_ids))
        # One statement, since between two a job could be written: it would be counted twice.
        rows = self._reader.all(
            "SELECT NULL, images, pixels FROM usage WHERE owner = ? AND day = ? UNION ALL "
            f"SELECT job_id, 0, 0 FROM jobs WHERE job_id IN ({marks}) AND submitted IS NOT NULL",
            (owner, day, *asked_ids),
        )
        counted = frozenset(row[0] for row in rows if row[0] is not None)
        return OwnerUsage(sum(row[1] for row in rows), sum(row[2] for row in rows), counted)

    def expired(self, cutoff: RetentionCutoff, after: int, limit: int) -> list[ExpiredJob]:
        """Return ended jobs that are older than the retention, those numbered above `after`.

        A cancelled job stays for an hour after its end, however soon it expires: the item that was
        running ends later, and without a state to ignore it would end the job again.
        """
        settled = from_epoch(to_epoch(cutoff.now) - _CANCELLED_KEPT_S)
        rows = self._reader.all(
            "SELECT number, job_id, operation, ended_at FROM jobs"
            " WHERE ended_at IS NOT NULL AND (ended_at < ? OR expires_at < ?)"
            " AND (status != 'cancelled' OR ended_at < ?)"
            " AND number > ? ORDER BY number LIMIT ?",
            (cutoff.oldest, cutoff.now, settled, after, limit),
        )
        return [ExpiredJob(*row) for row in rows]

    def document(self, kind: str, name: str) -> bytes | None:
        """Return the last message with that key on the compacted topic `kind`."""
        row = self._reader.one(
            "SELECT document FROM documents WHERE kind = ? AND name = ?", (kind, name)
        )
        return row[0] if row else None

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the last message of each key on the compacted topic `kind`, ordered by key."""
        return self._reader.all(
            "SELECT name, document FROM documents WHERE kind = ? ORDER BY name", (kind,)
        )


def _of_owner(owner: str | None) -> tuple[str, tuple[str, ...]]:
    """Return a further condition, empty for all owners, and its values."""
    return ("", ()) if owner is None else (" AND owner = ?", (owner,))


def _items(connection: sqlite3.Connection, job_id: str) -> dict[int, bytes]:
    return dict(connection.execute("SELECT item, document FROM items WHERE job_id = ?", (job_id,)))
