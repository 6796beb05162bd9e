"""Lists and counts, and reads while the file changes."""

from __future__ import annotations

import threading

import pytest

from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.listing import Cursor, ListFilter
from schemas.jobs import Item, JobStatus
from tests.support.messages import (
    FakeMessage,
    item_message,
    state_message,
    state_of,
    submission_message,
    submitted,
    tombstone,
)
from tests.support.readmodel import FedFile, finished


def test_pages_are_newest_first_and_do_not_move_when_jobs_are_added(file: FedFile) -> None:
    def job(number: int) -> FakeMessage:
        created = f"2026-03-01T10:{number // 2:02}:00.000Z"  # two jobs share each moment
        return submission_message(submitted(f"job-{number:05}", created_at=created))

    file.feed(*map(job, range(10)))
    seen: list[str] = []
    cursor: Cursor | None = None
    for added in (20, 21, 22):
        records, cursor = file.queries.jobs(ListFilter(), 4, cursor)
        seen += [record.state.job_id for record in records]
        cursor = Cursor.decode(cursor.encode()) if cursor else None
        file.feed(job(added))
    assert seen == [f"job-{number:05}" for number in reversed(range(10))]
    assert cursor is None


def test_lists_filter_by_status_operation_and_time(file: FedFile) -> None:
    jobs = [
        submitted("job-00001", operation="noop", created_at="2026-03-01T01:00:00.000Z"),
        submitted("job-00002", operation="noop", created_at="2026-03-01T02:00:00.000Z"),
        submitted("job-00003", created_at="2026-03-01T03:00:00.000Z"),
    ]
    file.feed(*map(submission_message, jobs), state_message(finished(jobs[1])))

    def listed(**filters: object) -> list[str]:
        records, _ = file.queries.jobs(ListFilter(**filters), 10)  # type: ignore[arg-type]
        return [record.state.job_id[-1] for record in records]

    assert listed() == ["3", "2", "1"]
    assert listed(statuses=["queued"]) == ["3", "1"]
    assert listed(statuses=["queued", "succeeded"], operations=["noop"]) == ["2", "1"]
    assert listed(since="2026-03-01T02:00:00.000Z") == ["3", "2"]
    assert listed(until="2026-03-01T02:00:00.000Z") == ["1"]


@pytest.mark.parametrize("read", ["job", "list"])
def test_a_batch_that_ends_during_a_read_is_read_whole(file: FedFile, read: str) -> None:
    """Its items move from rows of their own into its state: a read sees them in one of both."""
    job = submitted("job-00001", total=2)
    items = tuple(
        Item(index=index, status=JobStatus.SUCCEEDED, result={"key": f"results/x/{index}.png"})
        for index in range(2)
    )
    file.feed(
        submission_message(job),
        *(item_message("job-00001", item) for item in items),
        state_message(state_of(job, 3, "running", "ss")),
    )
    statements: list[str] = []

    def end_the_batch(statement: str) -> None:
        """Called before each statement of a read."""
        statements.append(statement)
        if "SELECT" in statement and len(statements) > 1 and not ended.is_set():
            ended.set()
            file.feed(
                state_message(state_of(job, 4, "succeeded", "ss", items=items)),
                tombstone("job-00001/0"),
                tombstone("job-00001/1"),
            )

    ended = threading.Event()
    file.reader._connection.set_trace_callback(end_the_batch)
    if read == "job":
        record = file.queries.job("job-00001")
    else:
        (record,), _ = file.queries.jobs(ListFilter(), 10)
        assert ended.is_set()
    file.reader._connection.set_trace_callback(None)
    assert record is not None
    assert [item.result for item in record.items] == [item.result for item in items]


def test_a_file_is_closed_only_after_the_query_under_way(file: FedFile) -> None:
    """SQLite crashes the process when a connection is closed during a query on another thread."""
    begun, proceed, closed = threading.Event(), threading.Event(), threading.Event()
    found: list[object] = []

    def wait_within(_: str) -> None:
        begun.set()
        assert proceed.wait(20)

    file.reader._connection.set_trace_callback(wait_within)
    querying = threading.Thread(target=lambda: found.append(file.queries.counts()))
    querying.start()
    assert begun.wait(20)
    closing = threading.Thread(target=lambda: (file.reader.close(), closed.set()))
    closing.start()
    assert not closed.wait(0.1)
    proceed.set()
    querying.join(20)
    closing.join(20)
    assert found == [[]]


def test_ended_jobs_expire_by_age_or_by_their_own_time(file: FedFile) -> None:
    def ended(job_id: str, at: str, status: str = "succeeded", **fields: str) -> list[FakeMessage]:
        job = submitted(job_id, **fields)
        state = state_of(job, 2, status, "s", finished_at=at)
        return [submission_message(job), state_message(state)]

    file.feed(
        *ended("job-old", "2026-02-20T00:00:00.000Z"),
        *ended("job-new", "2026-03-01T00:00:00.000Z"),
        *ended("job-short", "2026-03-01T00:00:00.000Z", expires_at="2026-03-01T01:00:00.000Z"),
        *ended(
            "job-cancelled", "2026-03-01T23:30:00.000Z", "cancelled",
            expires_at="2026-03-01T23:40:00.000Z",
        ),
        submission_message(submitted("job-queued", expires_at="2026-03-02T00:30:00.000Z")),
    )  # fmt: skip
    midnight = RetentionCutoff("2026-03-02T00:00:00.000Z", "2026-02-23T00:00:00.000Z")
    expired = file.queries.expired(midnight, 0, 10)
    assert [job.job_id for job in expired] == ["job-old", "job-short"]
    assert [job.job_id for job in file.queries.expired(midnight, expired[0].number, 10)] == [
        "job-short"
    ]
    later = RetentionCutoff("2026-03-02T00:31:00.000Z", "2026-02-23T00:31:00.000Z")
    assert [job.job_id for job in file.queries.expired(later, expired[1].number, 10)] == [
        "job-cancelled"
    ]
