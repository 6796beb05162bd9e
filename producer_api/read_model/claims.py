"""Claims of job ids: which of two requests for one id, at whichever API, was first in the log.

Each API publishes a claim before a job whose id its client chose, reads all claims from the topic
into its own file, and so finds the same first one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import NamedTuple

from producer_api.read_model.schema import Reader
from schemas.cloudevents import DecodeError
from schemas.events import JobClaimed
from schemas.times import from_epoch, to_epoch

# A claim stays the first of its id until it ends; only one made after that replaces it.
_INSERT = """
INSERT INTO claims (job_id, owner, fingerprint, claim_id, ends_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET owner = excluded.owner, fingerprint = excluded.fingerprint,
  claim_id = excluded.claim_id, ends_at = excluded.ends_at WHERE ? > claims.ends_at
"""


class ClaimRow(NamedTuple):
    """A claim of a job id by a request, from `at` until `ends_at`."""

    job_id: str
    owner: str | None
    fingerprint: str
    claim_id: str
    ends_at: str
    at: str

    @classmethod
    def of_event(cls, claim: JobClaimed, key: bytes | None, now: str) -> ClaimRow | None:
        """Return the row of a claim that was read; None if it is of another time.

        Raises:
            DecodeError: the message has another key than the job id. It may be on another
                partition, where its order among the claims of that id is unknown.
        """
        if claim.job_id.encode() != key:
            raise DecodeError(f"a claim of {claim.job_id} under another key")
        at_s = to_epoch(claim.at)
        # Of the future neither: a clock that is years ahead must not keep an id for years.
        if abs(to_epoch(now) - at_s) > JobClaimed.LASTS_S:
            return None
        ends_at = from_epoch(at_s + JobClaimed.LASTS_S)
        return cls(claim.job_id, claim.owner, claim.fingerprint, claim.claim_id, ends_at, claim.at)


class Claim(NamedTuple):
    """The first claim of a job id: the owner's request with this fingerprint may make the job."""

    fingerprint: str
    claim_id: str
    ends_at: str
    owner: str | None = None


class Claims:
    """Reads claims from the read model's file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def first(self, job_id: str) -> Claim | None:
        """Return the first claim of an id that was read here; it may have ended."""
        row = self._reader.one(
            "SELECT fingerprint, claim_id, ends_at, owner FROM claims WHERE job_id = ?", (job_id,)
        )
        return None if row is None else Claim(*row)


def write_claims(connection: sqlite3.Connection, claims: Iterable[ClaimRow]) -> None:
    """Write claims in the order of the log, within the caller's transaction."""
    # Deleted only as long again after their end: an API whose clock is behind still holds them
    # for lasting, and a later claim must lose to them here as it does there.
    ended = from_epoch(time.time() - JobClaimed.LASTS_S)
    connection.execute("DELETE FROM claims WHERE ends_at < ?", (ended,))
    connection.executemany(_INSERT, claims)
