"""Files are completed, kept, and filled again where they are of no use."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from producer_api.read_model.writer import ReadModelWriter
from tests.support.messages import NORMAL, state_message, submission_message, submitted, tombstone
from tests.support.readmodel import FedFile, finished


def test_a_file_is_filled_first_and_counted_and_indexed_then(incomplete: FedFile) -> None:
    jobs = [submitted(f"job-{number:05}") for number in range(20)]
    incomplete.feed(*map(submission_message, jobs))
    assert not incomplete.writer.is_complete
    assert incomplete.view("job-00007")["status"] == "queued"
    incomplete.feed(*(state_message(finished(job)) for job in jobs[:5]), tombstone("job-00019"))
    incomplete.writer.complete()
    assert incomplete.writer.is_complete
    assert incomplete.counted() == {"queued": 14, "succeeded": 5}
    incomplete.feed(state_message(finished(jobs[7])), tombstone("job-00000"))
    assert incomplete.counted() == {"queued": 13, "succeeded": 5}
    incomplete.writer.complete()
    assert incomplete.counted() == {"queued": 13, "succeeded": 5}


def test_a_complete_file_goes_on_where_it_was(file: FedFile) -> None:
    file.feed(submission_message(submitted("job-00001"), offset=6))
    file.close()
    again = FedFile(file.writer.path)
    assert again.writer.is_complete
    assert again.writer.offsets() == {(NORMAL, 0): 7}
    assert again.counted() == {"queued": 1}
    again.close()


def test_a_file_whose_first_filling_was_interrupted_is_filled_again(incomplete: FedFile) -> None:
    incomplete.feed(submission_message(submitted("job-00001")))
    incomplete.close()
    again = FedFile(incomplete.writer.path)
    assert again.writer.offsets() == {}
    assert again.queries.job("job-00001") is None
    again.close()


def test_a_damaged_file_is_filled_again(tmp_path: Path) -> None:
    path = tmp_path / "projection.db"
    path.write_bytes(b"this is no database" * 1000)
    writer = ReadModelWriter(path)
    assert writer.offsets() == {}
    writer.close()


def test_a_file_of_another_version_is_filled_again(file: FedFile) -> None:
    path = file.writer.path
    file.feed(submission_message(submitted("job-00001")))
    file.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    again = FedFile(path)
    assert again.writer.offsets() == {}
    assert again.queries.job("job-00001") is None
    again.writer.complete()
    assert again.counted() == {}
    again.close()
