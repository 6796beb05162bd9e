"""Brings a job's submission and its state together, so that a new read side writes it once."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from producer_api.read_model.changes import Changes
from producer_api.read_model.rows import JobRow

# In a transaction; a multiple of the store's largest slice.
_ROWS = 8192
# Halves that wait for the other one. Some wait in vain: a job that is still queued has no state,
# and a submission may be gone before the state is.
_HALVES = 32_768
_BYTES = 64 * 1024 * 1024


@dataclass
class Pairs(Changes):
    """Changes in which a job counts once both its messages are there; bounded.

    The others are held back: `jobs` has none of them until they are whole, or too many wait.
    """

    _halves: dict[str, JobRow] = field(default_factory=dict)
    _submissions: int = 0
    _bytes: int = 0

    @property
    def more_submissions(self) -> bool:
        """Whether more submissions than states wait for the other."""
        return self._submissions * 2 > len(self._halves)

    @property
    def full(self) -> bool:
        """Whether it is time to write."""
        return len(self.jobs) >= _ROWS or len(self._halves) >= _HALVES or self._bytes >= _BYTES

    def add(self, row: JobRow) -> None:
        """As Changes.add, once the job is whole."""
        self._bytes += _bytes(row)
        if row.job_id in self.jobs:
            super().add(row)
            return
        half = self._take_half(row.job_id)
        if half is not None:
            row = half.merged(row)
        if row.state is not None and row.submitted is not None:
            self.jobs[row.job_id] = row
        else:
            self._halves[row.job_id] = row
            self._submissions += row.submitted is not None

    def remove(self, job_id: str) -> None:
        """As Changes.remove."""
        super().remove(job_id)
        self._take_half(job_id)

    def take(self) -> Changes:
        """What is to be written next: whole jobs, and the oldest halves where too many wait.

        It leaves this without them, to be added to.
        """
        waiting = sum(map(_bytes, self._halves.values()))
        if len(self._halves) >= _HALVES or waiting >= _BYTES // 2:
            oldest = list(islice(self._halves, (len(self._halves) + 1) // 2))
            waiting -= sum(_bytes(self._halves[job_id]) for job_id in oldest)
            self._release(oldest)
        self._bytes = waiting
        return self._taken()

    def take_all(self) -> Changes:
        """All that is not written yet."""
        self._release(list(self._halves))
        self._bytes = 0
        return self._taken()

    def _release(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            if (half := self._take_half(job_id)) is not None:
                self.jobs[job_id] = half

    def _taken(self) -> Changes:
        taken = Changes(
            self.jobs,
            self.items,
            self.removed_jobs,
            self.removed_items,
            self.documents,
            self.claims,
        )
        self.jobs, self.items, self.removed_jobs = {}, {}, set()
        self.removed_items, self.documents, self.claims = set(), {}, []
        return taken

    def _take_half(self, job_id: str) -> JobRow | None:
        half = self._halves.pop(job_id, None)
        if half is not None:
            self._submissions -= half.submitted is not None
        return half


def _bytes(row: JobRow) -> int:
    return len(row.state or b"") + len(row.submitted or b"")
