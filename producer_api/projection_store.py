"""Writes the read side: a batch of changes and the offsets behind it in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from producer_api.projection_fold import Changes, Columns, Position, StateColumns
from producer_api.projection_schema import clear, open_writer
from schemas.jobs import JobStatus

_JOB_COLUMNS = (
    "job_id, revision, status, operation, priority, created_at, ended_at, expires_at, "
    "submitted, state"
)
_SUBMITTED = f"""
INSERT INTO jobs ({_JOB_COLUMNS}) VALUES {{rows}}
ON CONFLICT (job_id) DO UPDATE SET
  submitted = excluded.submitted, operation = excluded.operation, priority = excluded.priority,
  created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE jobs.submitted IS NULL
"""
# A state may come before its submission, and then may not know yet what was asked for.
_STATE = f"""
INSERT INTO jobs ({_JOB_COLUMNS}) VALUES {{rows}}
ON CONFLICT (job_id) DO UPDATE SET
  revision = excluded.revision, status = excluded.status, state = excluded.state,
  ended_at = excluded.ended_at,
  operation = iif(excluded.created_at = '', jobs.operation, excluded.operation),
  priority = iif(excluded.created_at = '', jobs.priority, excluded.priority),
  created_at = iif(excluded.created_at = '', jobs.created_at, excluded.created_at),
  expires_at = coalesce(excluded.expires_at, jobs.expires_at)
WHERE excluded.revision > jobs.revision
"""
_ITEM = """
INSERT INTO items (job_id, item, document) VALUES {rows}
ON CONFLICT DO UPDATE SET document = excluded.document
"""
_OFFSET = """
INSERT INTO offsets (topic, partition, next) VALUES {rows}
ON CONFLICT DO UPDATE SET next = excluded.next
"""
# Slices of these many rows: the statements are few, so that each stays prepared.
_SLICES = (256, 64, 16, 4, 1)

Row = Sequence[Any]


class ProjectionStore:
    """The writing side of the projection's file; used by one thread."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises sqlite3.Error."""
        self.path = path
        self._connection = open_writer(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def offsets(self) -> dict[Position, int]:
        """Where to go on reading, for each partition read before."""
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets")
        return {(topic, partition): position for topic, partition, position in rows}

    def belongs_to(self, cluster_id: str) -> bool:
        """Whether the rows came from that cluster; a new file belongs to any."""
        row = self._connection.execute("SELECT id FROM cluster").fetchone()
        return row is None or row[0] == cluster_id

    def begin_anew(self, cluster_id: str) -> None:
        """Empty the file, to be filled from that cluster."""
        with _Transaction(self._connection):
            clear(self._connection)
            self._connection.execute("INSERT INTO cluster VALUES (?)", (cluster_id,))

    def remember_cluster(self, cluster_id: str) -> None:
        """Note which cluster the rows come from."""
        with _Transaction(self._connection):
            self._connection.execute("DELETE FROM cluster")
            self._connection.execute("INSERT INTO cluster VALUES (?)", (cluster_id,))

    def apply(self, changes: Changes) -> None:
        """Write a batch, all of it or nothing. Raises sqlite3.Error."""
        with _Transaction(self._connection):
            for job_id in changes.removed_jobs:
                self._connection.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
                self._connection.execute("DELETE FROM items WHERE job_id = ?", (job_id,))
            self._insert(_SUBMITTED, map(_submitted_row, changes.submitted.values()))
            self._insert(_STATE, map(_state_row, changes.states.values()))
            self._connection.executemany(
                "DELETE FROM items WHERE job_id = ? AND item = ?", changes.removed_items
            )
            self._insert(_ITEM, ((*key, value) for key, value in changes.items.items()))
            for (kind, name), document in changes.documents.items():
                self._document(kind, name, document)
            self._insert(_OFFSET, ((*key, value) for key, value in changes.next.items()))

    def remove(self, job_ids: Iterable[str]) -> None:
        """Forget jobs. Raises sqlite3.Error."""
        self.apply(Changes(removed_jobs=set(job_ids)))

    def _document(self, kind: str, name: str, document: bytes | None) -> None:
        if document is None:
            self._connection.execute(
                "DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name)
            )
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, document)
            )

    def _insert(self, statement: str, rows: Iterable[Row]) -> None:
        """One statement for many rows: sqlite3 lets go of the interpreter lock at each statement,
        and a busy event loop gives it back only after milliseconds."""
        for part in _sliced(list(rows)):
            marks = f"({', '.join('?' * len(part[0]))})"
            self._connection.execute(
                statement.format(rows=", ".join([marks] * len(part))),
                [value for row in part for value in row],
            )


class _Transaction:
    """Commits at the end, or rolls back and lets the error through."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _sliced(rows: list[Row]) -> Iterator[list[Row]]:
    at = 0
    for size in _SLICES:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


def _submitted_row(entry: tuple[Columns, bytes]) -> Row:
    job, document = entry
    return (
        job.job_id, 0, JobStatus.QUEUED.value, job.operation, job.priority.value,
        job.created_at, None, job.expires_at, document, None,
    )  # fmt: skip


def _state_row(entry: tuple[StateColumns, bytes]) -> Row:
    state, document = entry
    return (
        state.job_id, state.revision, state.status.value, state.operation, state.priority.value,
        state.created_at, state.finished_at if state.status.ended else None, state.expires_at,
        None, document,
    )  # fmt: skip
