"""The tables of the read side, and how its SQLite file is opened or begun anew."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

# Raised whenever the tables below change: a file of another version is rebuilt by replay.
VERSION = 1
# One number for readers and the writer: a reader never waits in WAL mode, but opening may.
_BUSY_TIMEOUT_S = 10.0

_TABLES = """
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL UNIQUE,
  revision INTEGER NOT NULL,
  status TEXT NOT NULL,
  operation TEXT NOT NULL,
  priority TEXT NOT NULL,
  created_at TEXT NOT NULL,
  ended_at TEXT,
  expires_at TEXT,
  submitted BLOB,
  state BLOB
);
CREATE INDEX jobs_by_time ON jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, job_id);
CREATE INDEX jobs_by_operation ON jobs (operation, created_at, job_id);
CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE items (
  job_id TEXT NOT NULL,
  item INTEGER NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (job_id, item)
);
CREATE TABLE documents (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE offsets (
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  next INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE cluster (id TEXT NOT NULL);
CREATE TABLE counts (
  status TEXT NOT NULL,
  priority TEXT NOT NULL,
  operation TEXT NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (status, priority, operation)
) WITHOUT ROWID;
CREATE TRIGGER count_new AFTER INSERT ON jobs BEGIN
  INSERT INTO counts VALUES (new.status, new.priority, new.operation, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_changed AFTER UPDATE ON jobs
WHEN old.status <> new.status OR old.priority <> new.priority OR old.operation <> new.operation
BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE status = old.status AND priority = old.priority
    AND operation = old.operation;
  INSERT INTO counts VALUES (new.status, new.priority, new.operation, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_removed AFTER DELETE ON jobs BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE status = old.status AND priority = old.priority
    AND operation = old.operation;
END;
"""


def open_writer(path: Path) -> sqlite3.Connection:
    """The file's one writing connection; a file that is damaged or of another version is replaced.

    Raises:
        sqlite3.Error: the file can be neither opened nor created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open_current(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        log.warning("The projection %s is damaged and is rebuilt from the topics: %s", path, error)
    for stale in (path, *(path.with_name(path.name + tail) for tail in ("-wal", "-shm"))):
        stale.unlink(missing_ok=True)
    return _open_current(path)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for one thread at a time."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def clear(connection: sqlite3.Connection) -> None:
    """Empty every table within the caller's transaction."""
    for table in ("jobs", "items", "documents", "offsets", "cluster", "counts"):
        connection.execute(f"DELETE FROM {table}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA mmap_size = 268435456")
    return connection


def _open_current(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A power failure may take the last transactions with it: the topics still hold them.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _begin_anew(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_anew(connection: sqlite3.Connection) -> None:
    kinds = {"table": "TABLE", "trigger": "TRIGGER", "index": "INDEX"}
    connection.execute("BEGIN IMMEDIATE")
    found = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type DESC"
    ).fetchall()
    for kind, name in found:
        connection.execute(f"DROP {kinds[kind]} IF EXISTS {name}")
    for statement in _statements(_TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """The statements of a script; executescript would commit the transaction first."""
    statements, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
