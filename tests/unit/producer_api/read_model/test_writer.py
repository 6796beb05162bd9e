"""Batches are written with their offsets, whole or not at all."""

from __future__ import annotations

import sqlite3

import pytest

from producer_api.read_model.origin import Origin
from producer_api.read_model.schema import is_damage
from schemas.jobs import JobStatus
from tests.support.messages import NORMAL, state_message, submission_message, submitted
from tests.support.readmodel import CUTOFF, FedFile, finished


def test_rows_and_offsets_are_written_together_or_not_at_all(file: FedFile) -> None:
    file.feed(submission_message(submitted("job-00001"), offset=3))
    changes = file.collector.collect([submission_message(submitted("job-00002"), offset=4)], CUTOFF)
    changes.items["job-00002"] = {0: None}  # type: ignore[dict-item]  # no row can hold it
    with pytest.raises(sqlite3.IntegrityError):
        file.writer.apply(changes)
    assert file.queries.job("job-00002") is None
    assert file.writer.offsets() == {(NORMAL, 0): 4}


def test_many_rows_in_one_batch(file: FedFile) -> None:
    jobs = [submitted(f"job-{number:05}") for number in range(700)]
    file.feed(*map(submission_message, jobs))
    file.feed(*(state_message(finished(job)) for job in jobs[:333]))
    assert file.counted() == {"queued": 367, "succeeded": 333}
    assert file.queries.count(JobStatus.QUEUED) == 367


def test_a_full_disk_is_named_and_the_batch_can_be_written_later(file: FedFile) -> None:
    file.feed(submission_message(submitted("job-00001"), offset=3))
    with sqlite3.connect(file.writer.path) as other:
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    other.close()
    limit_pages(file, pages)
    large = submitted("job-00002", metadata={"note": "x" * 500_000})
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            file.feed(submission_message(large, offset=4))
        assert file.writer.offsets() == {(NORMAL, 0): 4}
    limit_pages(file, 2**30)
    file.feed(submission_message(large, offset=4))
    assert file.counted() == {"queued": 2}


def limit_pages(file: FedFile, pages: int) -> None:
    """Let the file have so many pages: SQLite's own stand-in for a full disk."""
    file.writer._connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_file_remembers_where_its_rows_came_from(file: FedFile) -> None:
    assert file.writer.origin() is None
    file.writer.write_origin(Origin("a", {"t": "1", "u": "2"}, 5.0))
    file.writer.write_origin(Origin("a", {"u": "3", "v": "4"}, 6.0))
    assert file.writer.origin() == Origin("a", {"t": "1", "u": "3", "v": "4"}, 6.0)


def test_a_reset_file_is_empty_and_is_filled_again(file: FedFile) -> None:
    file.writer.write_origin(Origin("a", {"t": "1"}, 5.0))
    file.feed(submission_message(submitted("job-00001")))
    file.writer.reset()
    assert file.queries.job("job-00001") is None
    assert file.writer.offsets() == {}
    assert file.writer.origin() is None
    assert not file.writer.is_complete
    file.feed(submission_message(submitted("job-00002")))
    file.writer.complete()
    assert file.counted() == {"queued": 1}


def test_a_reset_that_fails_half_way_changes_nothing_and_can_be_repeated(file: FedFile) -> None:
    file.feed(submission_message(submitted("job-00001")))

    def refuse(action: int, name: str | None, *_: object) -> int:
        creates = action == sqlite3.SQLITE_CREATE_TABLE and name == "claims"
        return sqlite3.SQLITE_DENY if creates else sqlite3.SQLITE_OK

    file.writer._connection.set_authorizer(refuse)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            file.writer.reset()
    file.writer._connection.set_authorizer(None)
    assert file.counted() == {"queued": 1}
    file.writer.reset()
    assert file.queries.job("job-00001") is None


def test_a_damaged_file_is_replaced_under_its_readers(file: FedFile) -> None:
    for number in range(300):
        file.feed(submission_message(submitted(f"job-{number:05}", metadata={"note": "x" * 999})))
    file.close()
    content = file.writer.path.read_bytes()
    # The first page is whole: the file opens, and a read of any other fails.
    file.writer.path.write_bytes(content[:8192] + b"damaged!" * (len(content) // 8 - 1024))
    again = FedFile(file.writer.path)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        again.feed(submission_message(submitted("job-new")))
    assert is_damage(caught.value)
    again.writer.replace()
    again.feed(submission_message(submitted("job-new")))
    assert again.view("job-new")["status"] == "queued"
    assert again.queries.job("job-00000") is None
    again.close()


def test_a_row_that_is_refused_is_no_damage() -> None:
    with sqlite3.connect(":memory:") as memory, pytest.raises(sqlite3.Error) as caught:
        memory.execute("SELECT * FROM nothing")
    memory.close()
    assert not is_damage(caught.value)
