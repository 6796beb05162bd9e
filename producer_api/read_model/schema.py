"""The read model's SQLite file: its tables, and its one writing and several reading connections."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from producer_api.read_model.webhooks import tables as webhook_tables

log = logging.getLogger(__name__)

# PRAGMA user_version of a complete file; raise it with every change of the tables below, so that
# files of older versions are rebuilt. An incomplete file has 0.
VERSION = 7
# Seconds to wait for a lock. Readers never wait for the writer in WAL mode, but opening may.
_BUSY_TIMEOUT_S = 10.0
# A job takes 1 to 3 KB: on pages of the default 4096 bytes a third of the space stays unused.
_PAGE_BYTES = 8192
_MMAP_BYTES = 256 * 1024 * 1024
_CACHE_KB = 64 * 1024

_TABLES = """
-- One row a job. `submitted` and `state` are the messages as they came, checked when they are
-- read; the columns before them are copied out of them, to search by.
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,    -- order of arrival here; differs between API processes
  job_id TEXT NOT NULL UNIQUE,
  revision INTEGER NOT NULL,     -- of the state; 0 while there is none
  status TEXT NOT NULL,          -- a schemas.jobs.JobStatus
  operation TEXT NOT NULL,
  priority TEXT NOT NULL,        -- a schemas.jobs.Priority
  created_at TEXT NOT NULL,      -- timestamps order as text; empty while it is not known
  ended_at TEXT,                 -- null while the job has not ended
  expires_at TEXT,               -- null for the retention that all jobs have
  owner TEXT,                    -- null for a job of an API without keys
  images INTEGER NOT NULL DEFAULT 0,  -- of the submission; 0 until it is read
  pixels INTEGER NOT NULL DEFAULT 0,  -- of its uploaded images, in all
  submitted BLOB,                -- JobSubmitted, null until it is read
  state BLOB                     -- JobState, null until one is read
);
-- The items of running batches; an ended job has its items in its state.
CREATE TABLE items (
  job_id TEXT NOT NULL,
  item INTEGER NOT NULL,
  document BLOB NOT NULL,        -- Item
  PRIMARY KEY (job_id, item)
);
-- The last message of each key on the other compacted topics: templates, workers.heartbeats.
CREATE TABLE documents (
  kind TEXT NOT NULL,            -- the topic's name without the prefix
  name TEXT NOT NULL,            -- the message's key
  document BLOB NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;
-- The first claim of each job id; see claims.py.
CREATE TABLE claims (
  job_id TEXT PRIMARY KEY,
  owner TEXT,                    -- null for a job of an API without keys
  fingerprint TEXT NOT NULL,
  claim_id TEXT NOT NULL,
  ends_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (ends_at);
-- The offset to read next of each partition, written in one transaction with the rows before it.
CREATE TABLE offsets (
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  next INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
-- The cluster that the rows came from, and when they were last as new as its topics. One row.
CREATE TABLE origin (
  cluster_id TEXT NOT NULL,
  current_at REAL NOT NULL       -- Unix time in seconds
);
-- The id of each topic read: a topic that is deleted and created again has another one.
CREATE TABLE topics (
  name TEXT PRIMARY KEY,
  topic_id TEXT NOT NULL
) WITHOUT ROWID;
-- Jobs counted by the triggers below, so that statistics need not read all rows.
CREATE TABLE counts (
  status TEXT NOT NULL,
  priority TEXT NOT NULL,
  operation TEXT NOT NULL,
  owner TEXT NOT NULL,           -- an empty BLOB, which equals no text, for jobs without one
  jobs INTEGER NOT NULL,
  PRIMARY KEY (status, priority, operation, owner)
) WITHOUT ROWID;
-- The images that each owner submitted on each day. Jobs that are deleted stay counted, so a
-- daily quota is not had again by jobs that expire at once.
CREATE TABLE usage (
  owner TEXT NOT NULL,
  day TEXT NOT NULL,             -- of the job's creation in UTC, such as 2026-01-31
  images INTEGER NOT NULL,
  pixels INTEGER NOT NULL,
  PRIMARY KEY (owner, day)
) WITHOUT ROWID;
"""
# Made when the file is filled: keeping them up to date during a rebuild took four times as long.
_INDEXES = """
CREATE INDEX jobs_by_time ON jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, job_id);
CREATE INDEX jobs_by_operation ON jobs (operation, created_at, job_id);
CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, created_at, job_id) WHERE owner IS NOT NULL;
CREATE INDEX jobs_by_owner_status ON jobs (owner, status, created_at, job_id)
  WHERE owner IS NOT NULL;
INSERT INTO counts SELECT status, priority, operation, coalesce(owner, x''), count(*) FROM jobs
  GROUP BY 1, 2, 3, 4;
INSERT INTO usage SELECT owner, substr(created_at, 1, 10), sum(images), sum(pixels) FROM jobs
  WHERE owner IS NOT NULL AND submitted IS NOT NULL GROUP BY 1, 2
  ON CONFLICT DO UPDATE SET images = images + excluded.images, pixels = pixels + excluded.pixels;
CREATE TRIGGER count_new AFTER INSERT ON jobs BEGIN
  INSERT INTO counts
    VALUES (new.status, new.priority, new.operation, coalesce(new.owner, x''), 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_changed AFTER UPDATE ON jobs
WHEN old.status <> new.status OR old.priority <> new.priority OR old.operation <> new.operation
  OR old.owner IS NOT new.owner
BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE status = old.status AND priority = old.priority
    AND operation = old.operation AND owner = coalesce(old.owner, x'');
  INSERT INTO counts
    VALUES (new.status, new.priority, new.operation, coalesce(new.owner, x''), 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_removed AFTER DELETE ON jobs BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE status = old.status AND priority = old.priority
    AND operation = old.operation AND owner = coalesce(old.owner, x'');
END;
CREATE TRIGGER use_new AFTER INSERT ON jobs
WHEN new.owner IS NOT NULL AND new.submitted IS NOT NULL
BEGIN
  INSERT INTO usage VALUES (new.owner, substr(new.created_at, 1, 10), new.images, new.pixels)
    ON CONFLICT DO UPDATE SET images = images + excluded.images, pixels = pixels + excluded.pixels;
END;
-- The state of a job was read before its submission.
CREATE TRIGGER use_late AFTER UPDATE OF submitted ON jobs
WHEN new.owner IS NOT NULL AND old.submitted IS NULL AND new.submitted IS NOT NULL
BEGIN
  INSERT INTO usage VALUES (new.owner, substr(new.created_at, 1, 10), new.images, new.pixels)
    ON CONFLICT DO UPDATE SET images = images + excluded.images, pixels = pixels + excluded.pixels;
END;
"""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file's one writing connection; replace a file that is damaged or incomplete.

    Raises:
        sqlite3.Error: the file can be neither opened nor created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open_current(path)
    except sqlite3.DatabaseError as error:
        # A locked file or a full disk is no damage.
        if isinstance(error, sqlite3.OperationalError):
            raise
        log.warning("The read model %s is damaged and is rebuilt from the topics: %s", path, error)
    delete(path)
    return _open_current(path)


def delete(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it."""
    for stale in (path, *(path.with_name(path.name + tail) for tail in ("-wal", "-shm"))):
        stale.unlink(missing_ok=True)


def is_damage(error: Exception) -> bool:
    """Tell if the error says that the file is damaged, which trying again does not mend."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Reader:
    """A read-only connection; its lock lets several threads use it."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises sqlite3.Error when there is none."""
        self._path = path
        self._lock = threading.Lock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = _connect(self._path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def one(self, query: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        with self._lock:
            return self._connection.execute(query, values).fetchone()

    def all(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows; they are of one moment."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for several queries; all of them see the file at one moment."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")

    @contextmanager
    def reopened(self) -> Iterator[None]:
        """Close the connection, and open the file again at the end of the block."""
        with self._lock:
            self._connection.close()
            yield
            self._connection = self._open()

    def close(self) -> None:
        """Close the connection after the query under way: closed during one, SQLite crashes."""
        with self._lock:
            self._connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or roll it back and raise what failed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On a full disk, among others, SQLite has rolled back by itself; a second ROLLBACK would
        # raise an error of its own in place of the cause.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def reset(connection: sqlite3.Connection) -> None:
    """Empty the file and make the tables, without indexes: fill it and then `complete` it.

    Raises:
        sqlite3.Error: nothing was changed; trying again is safe.
    """
    # An incomplete file is reset at the next start, so it need not survive a power failure.
    connection.execute("PRAGMA synchronous = OFF")
    with transaction(connection):
        found = connection.execute(
            "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type DESC"
        ).fetchall()
        for kind, name in found:
            # A trigger or index goes with its table.
            connection.execute(f"DROP {kind.upper()} IF EXISTS {name}")
        _run(connection, _TABLES + webhook_tables.TABLES)
        connection.execute("PRAGMA user_version = 0")


def is_complete(connection: sqlite3.Connection) -> bool:
    """Tell if the file is of this version and was filled to the topics' ends once."""
    return connection.execute("PRAGMA user_version").fetchone()[0] == VERSION


def complete(connection: sqlite3.Connection) -> None:
    """Make indexes and counts from the rows, and then mark the file complete.

    Raises:
        sqlite3.Error: the file is still incomplete; trying again is safe.
    """
    with transaction(connection):
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger'").fetchone():
            _run(connection, _INDEXES + webhook_tables.INDEXES)
    # From here on, a power failure may cost the last transactions, which the topics still hold.
    # What was written before without a flush could be damaged anywhere, so it is flushed now.
    connection.execute("PRAGMA synchronous = NORMAL")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if busy:
        raise sqlite3.OperationalError("a reader keeps the file from being flushed")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA mmap_size = {_MMAP_BYTES}")
    return connection


def _open_current(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        if not is_complete(connection):
            reset(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run a script's statements; executescript would commit the transaction around them."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            connection.execute(pending)
            pending = ""
