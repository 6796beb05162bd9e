"""The table of job states and of running batches' items, read and written as schemas know them."""

from __future__ import annotations

from typing import Any

from schemas import codec
from schemas.jobs import Item, JobState


class JobTable:
    """A Faust table of encoded records, keyed like `jobs.state`.

    To be used inside a stream's iteration only: Faust finds the partition by the current event.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def state(self, job_id: str) -> JobState | None:
        """A job's state, None when there is none."""
        value = self._table.get(job_id.encode())
        return codec.decode_state(value) if value is not None else None

    def item(self, job_id: str, index: int) -> Item | None:
        """An item of a running batch, None when nothing is known of it."""
        value = self._table.get(f"{job_id}/{index}".encode())
        return codec.decode_item(value) if value is not None else None

    def put(self, key: bytes, value: bytes) -> None:
        """Write a record."""
        self._table[key] = value

    def delete(self, key: bytes) -> bool:
        """Delete a record; whether there was one."""
        if self._table.get(key) is None:
            return False
        del self._table[key]
        return True
