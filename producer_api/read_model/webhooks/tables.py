"""The tables of webhook deliveries in the read model's file, and the statements that fill them."""

from __future__ import annotations

import sqlite3

from producer_api.read_model.webhooks.rows import AttemptRow, DeliveryRow, DeliveryStatus

TABLES = """
-- One row a webhook delivery, merged from its attempts and its dead letter.
CREATE TABLE deliveries (
  delivery_id TEXT PRIMARY KEY,  -- the webhook-id
  url TEXT NOT NULL,
  owner TEXT,                    -- null without API keys
  endpoint_id TEXT,              -- null for the webhook that a job itself names
  job_id TEXT,                   -- null for events of no job
  event TEXT,                    -- a schemas.jobs.WebhookEvent
  status TEXT NOT NULL,          -- a DeliveryStatus
  created_at TEXT NOT NULL,      -- the earliest time known
  last_at TEXT NOT NULL,         -- the latest time known
  failed_at TEXT,                -- the time at which it was given up; replays do not change it
  next_at TEXT,                  -- the time at which the next attempt is due
  reason TEXT,                   -- the reason why it was given up
  -- the place of a record with the body, null if none was kept
  topic TEXT,
  partition INTEGER,
  offset INTEGER
) WITHOUT ROWID;
CREATE TABLE attempts (
  delivery_id TEXT NOT NULL,
  at TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  document BLOB NOT NULL,        -- WebhookAttempt without the body of the post
  PRIMARY KEY (delivery_id, at, attempt)
) WITHOUT ROWID;
"""
INDEXES = """
CREATE INDEX deliveries_by_time ON deliveries (created_at, delivery_id);
CREATE INDEX deliveries_by_status ON deliveries (status, created_at, delivery_id);
CREATE INDEX deliveries_by_owner ON deliveries (owner, created_at, delivery_id)
  WHERE owner IS NOT NULL;
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, created_at, delivery_id)
  WHERE endpoint_id IS NOT NULL;
CREATE INDEX deliveries_by_job ON deliveries (job_id);
CREATE INDEX deliveries_failed ON deliveries (endpoint_id, failed_at) WHERE status = 'failed';
"""

# A delivery that was accepted once is delivered for good, whatever a later replay does. Apart from
# that, the newest record decides.
_DELIVERED = f"'{DeliveryStatus.DELIVERED}'"
_NEWER = f"(excluded.last_at >= deliveries.last_at OR excluded.status = {_DELIVERED})"
_DECIDES = f"(deliveries.status <> {_DELIVERED} AND {_NEWER})"
DELIVERY = f"""
INSERT INTO deliveries ({", ".join(DeliveryRow._fields)}) VALUES {{rows}}
ON CONFLICT (delivery_id) DO UPDATE SET
  url = iif({_NEWER}, excluded.url, deliveries.url),
  owner = coalesce(deliveries.owner, excluded.owner),
  endpoint_id = coalesce(deliveries.endpoint_id, excluded.endpoint_id),
  job_id = coalesce(deliveries.job_id, excluded.job_id),
  event = coalesce(deliveries.event, excluded.event),
  status = iif({_DECIDES}, excluded.status, deliveries.status),
  created_at = min(deliveries.created_at, excluded.created_at),
  last_at = max(deliveries.last_at, excluded.last_at),
  failed_at = coalesce(
    min(deliveries.failed_at, excluded.failed_at), deliveries.failed_at, excluded.failed_at
  ),
  next_at = iif({_NEWER}, excluded.next_at, deliveries.next_at),
  reason = coalesce(excluded.reason, deliveries.reason),
  topic = coalesce(excluded.topic, deliveries.topic),
  partition = coalesce(excluded.partition, deliveries.partition),
  offset = coalesce(excluded.offset, deliveries.offset)
"""
ATTEMPT = f"""
INSERT OR REPLACE INTO attempts ({", ".join(AttemptRow._fields)}) VALUES {{rows}}
"""
# Deliveries deleted in one transaction; the feed makes one a second.
_MAX_FORGOTTEN = 5000
_OLD = "SELECT delivery_id FROM deliveries WHERE created_at < ? ORDER BY created_at LIMIT ?"


def forget_deliveries(connection: sqlite3.Connection, oldest: str) -> int:
    """Delete up to 5,000 deliveries of before `oldest` with their attempts; return the number."""
    old = connection.execute(_OLD, (oldest, _MAX_FORGOTTEN)).fetchall()
    for table in ("attempts", "deliveries"):
        connection.executemany(f"DELETE FROM {table} WHERE delivery_id = ?", old)
    return len(old)
