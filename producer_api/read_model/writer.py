"""Writes the read side: a batch of changes and the offsets behind it in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.changes import Changes, ClaimRow
from producer_api.read_model.rows import JobRow
from producer_api.read_model.schema import begin_anew, complete, is_complete, open_writer
from schemas.events import JobClaimed
from schemas.times import from_epoch

# JobRow.merged in SQL.
_NEWER = "excluded.revision > jobs.revision"
_TELLS = f"iif({_NEWER}, excluded.created_at <> '', jobs.created_at = '')"
_JOB = f"""
INSERT INTO jobs ({", ".join(JobRow._fields)}) VALUES {{rows}}
ON CONFLICT (job_id) DO UPDATE SET
  revision = iif({_NEWER}, excluded.revision, jobs.revision),
  status = iif({_NEWER}, excluded.status, jobs.status),
  ended_at = iif({_NEWER}, excluded.ended_at, jobs.ended_at),
  state = iif({_NEWER}, excluded.state, jobs.state),
  operation = iif({_TELLS}, excluded.operation, jobs.operation),
  priority = iif({_TELLS}, excluded.priority, jobs.priority),
  created_at = iif({_TELLS}, excluded.created_at, jobs.created_at),
  expires_at = iif({_TELLS}, excluded.expires_at, jobs.expires_at),
  submitted = coalesce(jobs.submitted, excluded.submitted)
WHERE {_NEWER} OR jobs.submitted IS NULL
"""
_ITEM = """
INSERT INTO items (job_id, item, document) VALUES {rows}
ON CONFLICT DO UPDATE SET document = excluded.document
"""
# The first claim of an id stays until it ends.
_CLAIM = """
INSERT INTO claims VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, claim_id = excluded.claim_id,
  ends_at = excluded.ends_at WHERE ? > claims.ends_at
"""
_OFFSET = """
INSERT INTO offsets (topic, partition, next) VALUES {rows}
ON CONFLICT DO UPDATE SET next = excluded.next
"""
# Slices of these many rows: the statements are few, so that each stays prepared.
_SLICES = (2048, 256, 64, 16, 4, 1)

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

    def offsets(self) -> dict[TopicPartition, int]:
        """Where to go on reading, for each partition read before."""
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def belongs_to(self, cluster_id: str) -> bool:
        """Whether the rows came from that cluster; a new file belongs to any."""
        row = self._connection.execute("SELECT id FROM cluster").fetchone()
        return row is None or row[0] == cluster_id

    def begin_anew(self, cluster_id: str) -> None:
        """Empty the file, to be filled from that cluster."""
        begin_anew(self._connection)
        self.remember_cluster(cluster_id)

    @property
    def complete(self) -> bool:
        """Whether the file was once filled to the topics' ends; see `finish`."""
        return is_complete(self._connection)

    def finish(self) -> None:
        """The topics were read to their ends: from now on the file is kept as it grows.

        Until then it is written without indexes and without regard for power failures, and
        a process that finds it so begins anew. Raises sqlite3.Error.
        """
        complete(self._connection)

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
                self._connection.execute("DELETE FROM claims WHERE job_id = ?", (job_id,))
            self._insert(_JOB, changes.jobs.values())
            self._connection.executemany(
                "DELETE FROM items WHERE job_id = ? AND item = ?", changes.removed_items
            )
            self._insert(
                _ITEM,
                (
                    (job_id, number, document)
                    for job_id, items in changes.items.items()
                    for number, document in items.items()
                ),
            )
            if changes.claims:
                self._claim(changes.claims)
            for (kind, name), document in changes.documents.items():
                self._document(kind, name, document)
            self._insert(_OFFSET, ((*key, value) for key, value in changes.next.items()))

    def _claim(self, claims: Iterable[ClaimRow]) -> None:
        # Later than they end: clocks differ, and one that is written anew must win again.
        ended = from_epoch(time.time() - JobClaimed.LASTS_S)
        self._connection.execute("DELETE FROM claims WHERE ends_at < ?", (ended,))
        self._connection.executemany(_CLAIM, claims)

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
                list(chain.from_iterable(part)),
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
    if len(rows) > _SLICES[0]:
        # So many come while the file is filled, beside a thread that decodes: fewer statements,
        # though the last is prepared for once.
        for at in range(0, len(rows), _SLICES[0]):
            yield rows[at : at + _SLICES[0]]
        return
    for size in _SLICES:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size
