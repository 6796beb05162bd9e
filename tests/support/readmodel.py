"""The read model's file, fed with messages by hand, without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from producer_api.http.job_documents import JobDocument
from producer_api.read_model.changes import ChangeCollector, RetentionCutoff
from producer_api.read_model.claims import Claims
from producer_api.read_model.queries import ReadModelQueries
from producer_api.read_model.webhook_queries import WebhookQueries
from producer_api.read_model.writer import ReadModelWriter
from schemas.jobs import Item, JobState, JobStatus
from tests.support.messages import PREFIX, FakeMessage, state_of

CUTOFF = RetentionCutoff("2026-03-02T00:00:00.000Z", "2026-02-23T00:00:00.000Z")


class FedFile:
    """A file, its writer and its queries."""

    def __init__(self, path: Path) -> None:
        self.writer = ReadModelWriter(path)
        self.reader = self.writer.open_reader()
        self.queries = ReadModelQueries(self.reader)
        self.claims = Claims(self.reader)
        self.webhooks = WebhookQueries(self.reader)
        self.collector = ChangeCollector(PREFIX)

    def feed(self, *messages: FakeMessage, cutoff: RetentionCutoff = CUTOFF) -> list[str]:
        """Write the messages as one batch; return the lines on those that were skipped."""
        changes = self.collector.collect(messages, cutoff)
        self.writer.apply(changes)
        return changes.skipped

    def view(self, job_id: str) -> dict[str, Any]:
        """The job as the API answers it."""
        record = self.queries.job(job_id)
        assert record is not None, f"{job_id} is not known"
        return JobDocument.of(record)

    def counted(self) -> dict[str, int]:
        """Jobs by status, where all have one priority and operation."""
        return {status: jobs for status, _, _, jobs in self.queries.totals("").counts}

    def close(self) -> None:
        self.writer.close()


def finished(job: Any, revision: int = 2) -> JobState:
    """The last state of a job of one image."""
    item = Item(
        index=0, filename="0.jpg", status=JobStatus.SUCCEEDED, attempts=1,
        result={"key": "results/x/0.png", "width": 5},
    )  # fmt: skip
    return state_of(
        job, revision, "succeeded", "s", items=(item,), attempts=1,
        started_at="2026-03-01T10:00:01.000Z", finished_at="2026-03-01T10:00:02.000Z",
    )  # fmt: skip
