"""The table of job states and of running batches' items, by partition, as schemas know them."""

from __future__ import annotations

from typing import Any

from faust.types import TP

from processor.messages.publisher import Publisher
from schemas import cloudevents
from schemas.jobs import Item, JobState


class JobTable:
    """One partition of a Faust table of encoded records, with the keys of `jobs.state`.

    Reads and writes the partition's RocksDB directly: Faust's mapping looks every key up twice,
    and finds the partition by the current event, which there is none of in a timer.
    """

    def __init__(self, rocksdb: Any) -> None:
        self._rocksdb = rocksdb

    def state(self, job_id: str) -> JobState | None:
        """Read a job's state; None when there is none."""
        value = self._rocksdb.get(job_id.encode())
        return cloudevents.decode_state(value) if value is not None else None

    def item(self, job_id: str, index: int) -> Item | None:
        """Read an item of a running batch; None when no event of it has come."""
        value = self._rocksdb.get(f"{job_id}/{index}".encode())
        return cloudevents.decode_item(value) if value is not None else None

    def put(self, key: bytes, value: bytes) -> None:
        """Write a record."""
        self._rocksdb.put(key, value)

    def delete(self, key: bytes) -> bool:
        """Delete a record; return whether there was one."""
        if self._rocksdb.get(key) is None:
            return False
        self._rocksdb.delete(key)
        return True


class JobTables:
    """All partitions of the Faust table that this worker owns."""

    def __init__(self, table: Any, publisher: Publisher) -> None:
        self._table = table
        self._publisher = publisher

    def partition(self, number: int) -> JobTable:
        """Open the table of one partition."""
        return JobTable(self._table.data._db_for_partition(number))

    def persist_offsets(self) -> None:
        """Write into RocksDB up to which offset of the changelog it is complete.

        Without it, recovery after a kill reads the changelog from where the last recovery ended.
        """
        data = self._table.data
        for number, offset in self._publisher.take_changelog_offsets().items():
            if number in data._dbs:
                data.set_persisted_offset(TP(self._publisher.topics.state, number), offset)
