"""The queries of webhook deliveries and their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from producer_api.read_model.listing import Cursor
from producer_api.read_model.records import decoded
from producer_api.read_model.schema import Reader
from producer_api.read_model.webhooks.rows import DeliveryRow, DeliveryStatus
from schemas.webhooks import WebhookAttempt

_DELIVERY = f"SELECT {', '.join(DeliveryRow._fields)} FROM deliveries"


@dataclass(frozen=True)
class DeliveryFilter:
    """The deliveries to list; an empty field does not filter."""

    endpoint_id: str = ""
    job_id: str = ""
    statuses: Sequence[str] = ()
    owner: str | None = None
    """The only owner whose deliveries are listed; None for all."""


class WebhookQueries:
    """Reads deliveries and attempts from the file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def delivery(self, delivery_id: str) -> DeliveryRow | None:
        """Return a delivery; None if no attempt at it was read."""
        row = self._reader.one(f"{_DELIVERY} WHERE delivery_id = ?", (delivery_id,))
        return None if row is None else DeliveryRow._make(row)

    def deliveries(
        self, wanted: DeliveryFilter, limit: int, after: Cursor | None = None
    ) -> tuple[list[DeliveryRow], Cursor | None]:
        """Return a page of deliveries, newest first, and the next page's cursor if there is one."""
        where, values = _condition(wanted, after)
        rows = self._reader.all(
            f"{_DELIVERY} {where} ORDER BY created_at DESC, delivery_id DESC LIMIT ?",
            (*values, limit + 1),
        )
        found = [DeliveryRow._make(row) for row in rows[:limit]]
        more = len(rows) > limit
        return found, Cursor(found[-1].created_at, found[-1].delivery_id) if more else None

    def failed(self, endpoint_id: str, since: str, limit: int) -> list[DeliveryRow]:
        """Return an endpoint's deliveries that were given up from that time on, in that order."""
        rows = self._reader.all(
            f"{_DELIVERY} WHERE status = '{DeliveryStatus.FAILED}' AND endpoint_id = ?"
            " AND failed_at >= ? ORDER BY failed_at LIMIT ?",
            (endpoint_id, since, limit),
        )
        return [DeliveryRow._make(row) for row in rows]

    def attempt_count(self, delivery_id: str) -> int:
        """Count a delivery's attempts."""
        row = self._reader.one(
            "SELECT count(*) FROM attempts WHERE delivery_id = ?", (delivery_id,)
        )
        assert row is not None
        return row[0]

    def attempts(self, delivery_id: str) -> list[WebhookAttempt]:
        """Return a delivery's attempts, the first one first; invalid ones are left out."""
        rows = self._reader.all(
            "SELECT document FROM attempts WHERE delivery_id = ? ORDER BY at, attempt",
            (delivery_id,),
        )
        found = (decoded(delivery_id, WebhookAttempt, document) for (document,) in rows)
        return [attempt for attempt in found if attempt is not None]


def _condition(wanted: DeliveryFilter, after: Cursor | None) -> tuple[str, tuple[str, ...]]:
    parts: list[str] = []
    values: list[str] = []
    # A plus sign keeps SQLite from the index by owner, where it would read all of an owner's.
    narrow = wanted.endpoint_id or wanted.job_id
    for column, text in (
        ("endpoint_id", wanted.endpoint_id),
        ("job_id", wanted.job_id),
        ("+owner" if narrow else "owner", wanted.owner),
    ):
        if text:
            parts.append(f"{column} = ?")
            values.append(text)
    if wanted.statuses:
        parts.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
        values += wanted.statuses
    if after is not None:
        parts.append("(created_at, delivery_id) < (?, ?)")
        values += after
    return ("WHERE " + " AND ".join(parts) if parts else ""), tuple(values)
