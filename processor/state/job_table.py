"""The table of job states and of running batches' items, read and written as schemas know them."""

from __future__ import annotations

from typing import Any

from schemas import cloudevents
from schemas.jobs import Item, JobState


class JobTable:
    """One partition of a Faust table of encoded records, keyed like `jobs.state`.

    Goes to the partition's RocksDB directly: Faust's mapping looks every key up twice, and finds
    the partition by the current event, which there is none of in a timer.
    """

    def __init__(self, table: Any, partition: int) -> None:
        self._db = table.data._db_for_partition(partition)

    def state(self, job_id: str) -> JobState | None:
        """A job's state, None when there is none."""
        value = self._db.get(job_id.encode())
        return cloudevents.decode_state(value) if value is not None else None

    def item(self, job_id: str, index: int) -> Item | None:
        """An item of a running batch, None when nothing is known of it."""
        value = self._db.get(f"{job_id}/{index}".encode())
        return cloudevents.decode_item(value) if value is not None else None

    def put(self, key: bytes, value: bytes) -> None:
        """Write a record."""
        self._db.put(key, value)

    def delete(self, key: bytes) -> bool:
        """Delete a record; whether there was one."""
        if self._db.get(key) is None:
            return False
        self._db.delete(key)
        return True
