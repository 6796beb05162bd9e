"""The tables of the read side, and how its SQLite file is opened or begun anew."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

# Raised whenever the tables below change: a file of another version is rebuilt by replay. A file
# that is not complete has none.
VERSION = 3
# One number for readers and the writer: a reader never waits in WAL mode, but opening may.
_BUSY_TIMEOUT_S = 10.0
# Jobs are one to three kilobytes: on smaller pages a third of the space is left over.
_PAGE_BYTES = 8192

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
CREATE TABLE claims (
  job_id TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  claim_id TEXT NOT NULL,
  ends_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (ends_at);
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
"""
# What follows from the jobs: made when all of them are there, in a quarter of the time.
_DERIVED = """
CREATE INDEX jobs_by_time ON jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, job_id);
CREATE INDEX jobs_by_operation ON jobs (operation, created_at, job_id);
CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_by_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
INSERT INTO counts SELECT status, priority, operation, count(*) FROM jobs GROUP BY 1, 2, 3;
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


def begin_anew(connection: sqlite3.Connection) -> None:
    """Empty the file and leave it as a new one, to be filled and then completed."""
    kinds = {"table": "TABLE", "trigger": "TRIGGER", "index": "INDEX"}
    # Nothing is lost with a file that is not complete: it is begun anew, and need not be flushed.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN IMMEDIATE")
    found = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type DESC"
    ).fetchall()
    for kind, name in found:
        connection.execute(f"DROP {kinds[kind]} IF EXISTS {name}")
    _run(connection, _TABLES)
    connection.execute("PRAGMA user_version = 0")
    connection.execute("COMMIT")


def is_complete(connection: sqlite3.Connection) -> bool:
    """Whether the file is of this version and was filled to the topics' ends once."""
    return connection.execute("PRAGMA user_version").fetchone()[0] == VERSION


def complete(connection: sqlite3.Connection) -> None:
    """Add what follows from the rows, and only then call the file complete.

    Raises:
        sqlite3.Error: it is not complete; trying again is safe.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger'").fetchone():
            _run(connection, _DERIVED)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    # A power failure may take the last transactions with it: the topics still hold them. But what
    # was written without a flush could be damaged in the middle.
    connection.execute("PRAGMA synchronous = NORMAL")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if busy:
        raise sqlite3.OperationalError("a reader does not let the file be flushed")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA mmap_size = 268435456")
    return connection


def _open_current(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")
        if not is_complete(connection):
            begin_anew(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _run(connection: sqlite3.Connection, script: str) -> None:
    """The statements of a script; executescript would commit the caller's transaction first."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            connection.execute(pending)
            pending = ""
