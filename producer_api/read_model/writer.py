"""Writes the read model's file: each batch of changes in one transaction with its offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model import schema
from producer_api.read_model.changes import Changes, JobRow, Usage
from producer_api.read_model.claims import write_claims
from producer_api.read_model.origin import Origin
from producer_api.read_model.webhooks import tables as webhook_tables
from schemas.times import DAY_S, from_epoch

# JobRow.merged in SQL.
_NEWER = "excluded.revision > jobs.revision"
_HAS_HEADER = f"iif({_NEWER}, excluded.created_at <> '', jobs.created_at = '')"
_JOB = f"""
INSERT INTO jobs ({", ".join(JobRow._fields)}) VALUES {{rows}}
ON CONFLICT (job_id) DO UPDATE SET
  revision = iif({_NEWER}, excluded.revision, jobs.revision),
  status = iif({_NEWER}, excluded.status, jobs.status),
  ended_at = iif({_NEWER}, excluded.ended_at, jobs.ended_at),
  state = iif({_NEWER}, excluded.state, jobs.state),
  operation = iif({_HAS_HEADER}, excluded.operation, jobs.operation),
  priority = iif({_HAS_HEADER}, excluded.priority, jobs.priority),
  created_at = iif({_HAS_HEADER}, excluded.created_at, jobs.created_at),
  expires_at = iif({_HAS_HEADER}, excluded.expires_at, jobs.expires_at),
  owner = coalesce(iif({_HAS_HEADER}, excluded.owner, jobs.owner), jobs.owner, excluded.owner),
  images = iif(jobs.submitted IS NULL, excluded.images, jobs.images),
  pixels = iif(jobs.submitted IS NULL, excluded.pixels, jobs.pixels),
  submitted = coalesce(jobs.submitted, excluded.submitted)
WHERE {_NEWER} OR jobs.submitted IS NULL
"""
_ITEM = """
INSERT INTO items (job_id, item, document) VALUES {rows}
ON CONFLICT DO UPDATE SET document = excluded.document
"""
_USAGE = """
INSERT INTO usage (owner, day, images, pixels) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET images = images + excluded.images, pixels = pixels + excluded.pixels
"""
# Days that usage is kept; only today's is asked for, by clocks that differ by far less.
_USAGE_KEPT_DAYS = 2
_OFFSET = """
INSERT INTO offsets (topic, partition, next) VALUES {rows}
ON CONFLICT DO UPDATE SET next = excluded.next
"""
# Rows of one INSERT. Few sizes, so that each statement is prepared once and found again.
_ROWS_PER_INSERT = (2048, 256, 64, 16, 4, 1)

Row = Sequence[Any]


class ReadModelWriter:
    """The one writer of the file, for one thread at a time, and the source of its readers."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises sqlite3.Error."""
        self.path = path
        self._connection = schema.open_writer(path)
        self._readers: list[schema.Reader] = []
        self._oldest_usage = ""

    def open_reader(self) -> schema.Reader:
        """Open a connection that reads the file. Raises sqlite3.Error."""
        reader = schema.Reader(self.path)
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        """Close the file and its readers."""
        for reader in self._readers:
            reader.close()
        self._connection.close()

    def replace(self) -> None:
        """Replace a damaged file by an empty one, under its readers. Raises sqlite3.Error."""
        with ExitStack() as stack:
            for reader in self._readers:
                stack.enter_context(reader.reopened())
            self._connection.close()
            schema.delete(self.path)
            self._connection = schema.open_writer(self.path)

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the offset to read next of each partition that was read before."""
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    @property
    def is_complete(self) -> bool:
        """True once the file was filled to the topics' ends."""
        return schema.is_complete(self._connection)

    def complete(self) -> None:
        """Mark a file complete that was filled to the topics' ends; from now on it is kept.

        Until then it has no indexes and would not survive a power failure, and a process that
        finds it so begins again. Raises sqlite3.Error; trying again is safe.
        """
        schema.complete(self._connection)

    def origin(self) -> Origin | None:
        """Return where the rows came from; None while nothing was read."""
        row = self._connection.execute("SELECT cluster_id, current_at FROM origin").fetchone()
        topic_ids = dict(self._connection.execute("SELECT name, topic_id FROM topics"))
        return None if row is None else Origin(row[0], topic_ids, row[1])

    def write_origin(self, origin: Origin) -> None:
        """Note where the rows come from. Raises sqlite3.Error."""
        with schema.transaction(self._connection):
            self._connection.execute("DELETE FROM origin")
            self._connection.execute(
                "INSERT INTO origin VALUES (?, ?)", (origin.cluster_id, origin.current_at_s)
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO topics VALUES (?, ?)", origin.topic_ids.items()
            )

    def reset(self) -> None:
        """Empty the file, so that it is filled again. Raises sqlite3.Error."""
        schema.reset(self._connection)

    def apply(self, changes: Changes) -> None:
        """Write a batch with its offsets, all of it or nothing. Raises sqlite3.Error."""
        with schema.transaction(self._connection):
            for job_id in changes.removed_jobs:
                for table in ("jobs", "items", "claims"):
                    self._connection.execute(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            self._insert(_JOB, changes.jobs.values())
            self._connection.executemany(
                "DELETE FROM items WHERE job_id = ? AND item = ?", changes.removed_items
            )
            self._insert(
                _ITEM,
                (
                    (job_id, index, document)
                    for job_id, items in changes.items.items()
                    for index, document in items.items()
                ),
            )
            if changes.claims:
                write_claims(self._connection, changes.claims)
            self._write_usage(changes.expired_usage)
            self._insert(webhook_tables.DELIVERY, changes.webhooks.deliveries)
            self._insert(webhook_tables.ATTEMPT, changes.webhooks.attempts)
            for (kind, name), document in changes.documents.items():
                self._write_document(kind, name, document)
            self._insert(
                _OFFSET, ((*where, offset) for where, offset in changes.next_offsets.items())
            )

    def _write_usage(self, expired: list[Usage]) -> None:
        """Count the images of submissions without a row; delete old days, once a day."""
        if expired:
            self._connection.executemany(_USAGE, expired)
        oldest = from_epoch(time.time() - _USAGE_KEPT_DAYS * DAY_S)[: len("2026-01-31")]
        if oldest != self._oldest_usage:
            self._connection.execute("DELETE FROM usage WHERE day < ?", (oldest,))
            self._oldest_usage = oldest

    def forget_deliveries(self, oldest: str) -> None:
        """Delete some of the webhook deliveries of before that timestamp. Raises sqlite3.Error."""
        with schema.transaction(self._connection):
            webhook_tables.forget_deliveries(self._connection, oldest)

    def _write_document(self, kind: str, name: str, document: bytes | None) -> None:
        if document is None:
            self._connection.execute(
                "DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name)
            )
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, document)
            )

    def _insert(self, statement: str, rows: Iterable[Row]) -> None:
        """Insert many rows by few statements.

        sqlite3 releases the interpreter lock at each statement, and a thread that runs Python
        gives it back only after milliseconds.
        """
        for part in _parts(list(rows)):
            marks = f"({', '.join('?' * len(part[0]))})"
            self._connection.execute(
                statement.format(rows=", ".join([marks] * len(part))),
                list(chain.from_iterable(part)),
            )


def _parts(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut rows into parts of the sizes that statements are prepared for."""
    largest = _ROWS_PER_INSERT[0]
    if len(rows) > largest:
        # Batches of a rebuild: one more statement to prepare costs less than several to execute.
        for at in range(0, len(rows), largest):
            yield rows[at : at + largest]
        return
    at = 0
    for size in _ROWS_PER_INSERT:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size
