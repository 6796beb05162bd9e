"""Messages change the same rows in whatever order, number and batches they come."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.changes import Changes, RetentionCutoff
from producer_api.read_model.listing import ListFilter
from schemas import cloudevents
from schemas.events import ItemQueued
from schemas.jobs import JobState
from schemas.times import to_epoch
from tests.support.messages import (
    CREATED,
    NORMAL,
    STATE,
    FakeMessage,
    state_message,
    state_of,
    submission_message,
    submitted,
    tombstone,
)
from tests.support.readmodel import FedFile, finished

_STATE = {"job_id": "job-00001", "revision": 1, "status": "running", "created_at": CREATED}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]])
@pytest.mark.parametrize("batches", ["one", "each"])
@pytest.mark.parametrize("complete", [True, False])
def test_the_newest_state_wins_in_whatever_order_messages_come(
    incomplete: FedFile, order: list[int], batches: str, complete: bool
) -> None:
    file, job = incomplete, submitted("job-00001")
    if complete:
        file.writer.complete()
    messages = [
        submission_message(job),
        state_message(state_of(job, 1, "running", "r")),
        state_message(finished(job)),
    ]
    ordered = [messages[number] for number in order]
    if batches == "one":
        file.feed(*ordered)
    else:
        for message in ordered:
            file.feed(message)
    view = file.view("job-00001")
    assert view["status"] == "succeeded"
    assert view["items"][0]["result"]["key"] == "results/x/0.png"
    assert view["finished_at"] == "2026-03-01T10:00:02.000Z"
    file.writer.complete()
    assert file.counted() == {"succeeded": 1}
    assert file.queries.jobs(ListFilter(operations=["detect-objects"]), 10)[0]


_JOB = submitted("job-00001", total=2, priority="high", expires_at="2026-03-09T00:00:00.000Z")
_SEVERAL = [
    submission_message(_JOB),
    submission_message(_JOB.model_copy(update={"metadata": {"repeat": True}})),
    state_message(JobState(job_id="job-00001", revision=1, status="running", outcomes=".r")),
    state_message(state_of(_JOB, 2, "running", "rr")),
    state_message(
        state_of(_JOB, 3, "succeeded", "ss", finished_at="2026-03-01T10:00:02.000Z", items=())
    ),
]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(_SEVERAL), min_size=1, max_size=7), st.data())
def test_batches_make_no_difference(messages: list[FakeMessage], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(messages)))
    rows = []
    with TemporaryDirectory() as folder:
        for name, batches in (
            ("one", [messages]),
            ("each", [[message] for message in messages]),
            ("two", [messages[:cut], messages[cut:]]),
        ):
            file = FedFile(Path(folder) / name)
            for batch in batches:
                assert file.feed(*batch) == []
            file.close()
            with closing(sqlite3.connect(file.writer.path)) as connection:
                rows.append(connection.execute("SELECT * FROM jobs").fetchall())
    assert rows[0] == rows[1] == rows[2]


def test_repeats_change_nothing(file: FedFile) -> None:
    job = submitted("job-00001")
    messages = [submission_message(job), state_message(finished(job))]
    file.feed(*messages)
    before = file.view("job-00001")
    file.feed(*messages, *messages)
    assert file.view("job-00001") == before
    assert file.counted() == {"succeeded": 1}


def test_tombstones_remove_items_and_jobs(file: FedFile) -> None:
    job = submitted("job-00001")
    file.feed(submission_message(job), state_message(finished(job)))
    file.feed(tombstone("job-00001/0"))
    assert file.view("job-00001")["status"] == "succeeded"
    file.feed(tombstone("job-00001"))
    assert file.queries.job("job-00001") is None
    assert file.counted() == {}


def test_a_removed_job_does_not_come_back_with_its_old_submission(file: FedFile) -> None:
    old = submitted("job-00001", created_at="2026-01-01T00:00:00.000Z")
    short = submitted("job-00002", expires_at="2026-03-01T11:00:00.000Z")
    file.feed(tombstone("job-00001"), tombstone("job-00002"))
    file.feed(submission_message(old), submission_message(short))
    assert file.queries.job("job-00001") is None
    assert file.queries.job("job-00002") is None


def test_item_messages_on_priority_topics_are_passed_over(file: FedFile) -> None:
    job = submitted("job-00001", total=2)
    queued = ItemQueued(job_id="job-00001", index=0, job=job.header(), input=job.inputs[0])
    value, headers = cloudevents.encode(queued)
    assert file.feed(FakeMessage(NORMAL, b"job-00001/0", value, headers)) == []
    assert file.queries.job("job-00001") is None


def test_useless_messages_are_reported_and_stop_nothing(file: FedFile) -> None:
    job = submitted("job-00001")
    value, headers = cloudevents.encode(job)
    skipped = file.feed(
        FakeMessage(NORMAL, b"x", b"{", headers, offset_=4),
        FakeMessage(NORMAL, b"x", value, [], offset_=5),
        FakeMessage(NORMAL, b"x", value, [("ce_type", b"io.imagemill.job.submitted.v9")]),
        FakeMessage(STATE, b"job-00001", b"\xff\xfe"),
        FakeMessage(STATE, b"other-job", cloudevents.encode_state(finished(job)).value),
        FakeMessage(STATE, b"job-00001/first", b"{}"),
        FakeMessage(STATE, b"job-00001/1", b"[]"),
        FakeMessage(STATE, b"\xff", b"{}"),
        submission_message(job, offset=9),
    )
    assert len(skipped) == 8
    assert skipped[0].startswith("imagemill.jobs.normal[0]@4: ")
    assert file.view("job-00001")["status"] == "queued"
    assert file.writer.offsets()[NORMAL, 0] == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"revision": 2**63}, {"revision": -1}, {"revision": 1.5}, {"revision": None},
        {"status": "done"}, {"status": ["running"]}, {"status": "failed", "finished_at": 5},
        {"priority": {}}, {"priority": "urgent"}, {"operation": None}, {"created_at": 20260301},
        {"expires_at": ["2026"]}, {"job_id": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_no_column_takes_is_reported_and_stops_nothing(
    file: FedFile, wrong: dict[str, Any]
) -> None:
    document = json.dumps(_STATE | wrong).encode()
    (line,) = file.feed(
        FakeMessage(STATE, b"job-00001", document), submission_message(submitted("job-00002"))
    )
    assert next(iter(wrong)) in line or "finished_at" in line or "the state of" in line
    assert file.queries.job("job-00001") is None
    assert file.view("job-00002")["status"] == "queued"


@pytest.mark.parametrize("key", ["5" * 5000, "99999999999999999999", "-1", "", "1.0", "1/2"])
@pytest.mark.parametrize("value", [b"{}", None], ids=["item", "tombstone"])
def test_an_index_that_no_item_has_stops_nothing(
    file: FedFile, key: str, value: bytes | None
) -> None:
    skipped = file.feed(FakeMessage(STATE, f"job-00001/{key}".encode(), value))
    assert len(skipped) == 1
    assert len(skipped[0]) < 200


def test_a_partition_moves_on_to_its_end_but_never_back() -> None:
    where = TopicPartition(NORMAL, 0)
    changes = Changes(next_offsets={where: 7})
    changes.advance({where: 5, TopicPartition(NORMAL, 1): 3})
    assert changes.next_offsets == {(NORMAL, 0): 7, (NORMAL, 1): 3}
    # Transaction markers lie between the last message and the end.
    changes.advance({where: 9})
    assert changes.next_offsets[where] == 9


def test_the_cutoff_is_the_retention_before_now() -> None:
    cutoff = RetentionCutoff.current(2.5)
    assert to_epoch(cutoff.now) - to_epoch(cutoff.oldest) == pytest.approx(2.5 * 86_400)
