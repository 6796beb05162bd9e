"""Lists of jobs: which jobs, and from which one on."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from producer_api.read_model.errors import InvalidCursor


class Cursor(NamedTuple):
    """The last job of a page: the next page begins after it, whatever is added meanwhile."""

    created_at: str
    job_id: str

    def encode(self) -> str:
        """Return the cursor as clients carry it."""
        return base64.urlsafe_b64encode("/".join(self).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read a cursor that a client sends back. Raises InvalidCursor."""
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
    """The jobs to list; an empty field does not filter."""

    statuses: Sequence[str] = ()
    operations: Sequence[str] = ()
    since: str = ""
    """Timestamp of the earliest creation."""
    until: str = ""
    """Timestamp before which jobs were created."""
    owner: str | None = None
    """The only owner whose jobs are listed; None for all jobs."""


def condition(wanted: ListFilter, after: Cursor | None) -> tuple[str, tuple[str, ...]]:
    """Return a WHERE clause for the table jobs, empty if all are wanted, and its values."""
    parts: list[str] = []
    values: list[str] = []
    if wanted.owner is not None:
        parts.append("owner = ?")
        values.append(wanted.owner)
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
    return ("WHERE " + " AND ".join(parts) if parts else ""), tuple(values)
