"""The read side without a broker: what messages make of it, in whatever order and number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_api.http.job_documents import JobDocument
from producer_api.read_model.changes import ChangeCollector, RetentionCutoff
from producer_api.read_model.errors import InvalidCursor
from producer_api.read_model.queries import Cursor, ListFilter, ProjectionReader
from producer_api.read_model.writer import ProjectionStore
from schemas import cloudevents
from schemas.events import ItemQueued
from schemas.jobs import Item, JobState, JobStatus
from tests.support.messages import (
    CREATED,
    NORMAL,
    PREFIX,
    STATE,
    FakeMessage,
    item_message,
    state_message,
    state_of,
    submission_message,
    submitted,
    tombstone,
)

HORIZON = RetentionCutoff("2026-03-02T00:00:00.000Z", "2026-02-23T00:00:00.000Z")


class ReadSide:
    """A projection's file, fed by hand."""

    def __init__(self, path: Path) -> None:
        self.store = ProjectionStore(path)
        self.reader = ProjectionReader(path)
        self.fold = ChangeCollector(PREFIX)

    def feed(self, *messages: FakeMessage) -> list[str]:
        changes = self.fold.fold(messages, HORIZON)
        self.store.apply(changes)
        return changes.skipped

    def view(self, job_id: str) -> dict:
        record = self.reader.job(job_id)
        assert record is not None, f"{job_id} is not known"
        return JobDocument.of(record)

    def counted(self) -> dict[str, int]:
        return {status: jobs for status, _, _, jobs in self.reader.totals("").counts}

    def close(self) -> None:
        self.reader.close()
        self.store.close()


@pytest.fixture
def filling(tmp_path: Path) -> Iterator[ReadSide]:
    """One whose topics were not read to their ends yet."""
    made = ReadSide(tmp_path / "projection.db")
    yield made
    made.close()


@pytest.fixture
def side(filling: ReadSide) -> ReadSide:
    """One that is complete, and is kept as messages come."""
    filling.store.finish()
    return filling


def finished(job: object, revision: int = 2) -> JobState:
    item = Item(
        index=0, filename="0.jpg", status=JobStatus.SUCCEEDED, attempts=1,
        result={"key": "results/x/0.png", "width": 5},
    )  # fmt: skip
    return state_of(
        job, revision, "succeeded", "s", items=(item,), attempts=1,
        started_at="2026-03-01T10:00:01.000Z", finished_at="2026-03-01T10:00:02.000Z",
    )  # fmt: skip


def test_a_submitted_job_is_readable_before_any_state_of_it(side: ReadSide) -> None:
    side.feed(submission_message(submitted("job-00001", total=3, priority="high")))
    view = side.view("job-00001")
    assert view["status"] == "queued"
    assert view["priority"] == "high"
    assert view["progress"] == {"total": 3, "processed": 0, "failed": 0}
    assert [item["filename"] for item in view["items"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert {item["status"] for item in view["items"]} == {"queued"}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]])
@pytest.mark.parametrize("batches", ["one", "each"])
@pytest.mark.parametrize("complete", [True, False])
def test_the_newest_state_wins_in_whatever_order_messages_come(
    filling: ReadSide, order: list[int], batches: str, complete: bool
) -> None:
    side, job = filling, submitted("job-00001")
    if complete:
        side.store.finish()
    messages = [
        submission_message(job),
        state_message(state_of(job, 1, "running", "r")),
        state_message(finished(job)),
    ]
    ordered = [messages[number] for number in order]
    if batches == "one":
        side.feed(*ordered)
    else:
        for message in ordered:
            side.feed(message)
    view = side.view("job-00001")
    assert view["status"] == "succeeded"
    assert view["items"][0]["result"]["key"] == "results/x/0.png"
    assert view["finished_at"] == "2026-03-01T10:00:02.000Z"
    side.store.finish()
    assert side.counted() == {"succeeded": 1}
    assert side.reader.jobs(ListFilter(operations=["detect-objects"]), 10)[0]


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
            side = ReadSide(Path(folder) / name)
            for batch in batches:
                assert side.feed(*batch) == []
            side.close()
            with closing(sqlite3.connect(side.store.path)) as connection:
                rows.append(connection.execute("SELECT * FROM jobs").fetchall())
    assert rows[0] == rows[1] == rows[2]


def test_repeats_change_nothing(side: ReadSide) -> None:
    job = submitted("job-00001")
    messages = [submission_message(job), state_message(finished(job))]
    side.feed(*messages)
    before = side.view("job-00001")
    side.feed(*messages, *messages)
    assert side.view("job-00001") == before
    assert side.counted() == {"succeeded": 1}


def test_a_state_that_knows_no_header_takes_it_from_the_submission(side: ReadSide) -> None:
    side.feed(
        state_message(JobState(job_id="job-00001", revision=1, status="running", outcomes="r"))
    )
    side.feed(submission_message(submitted("job-00001", total=2)))
    view = side.view("job-00001")
    assert view["operation"] == "detect-objects"
    assert view["progress"]["total"] == 2
    assert [item["status"] for item in view["items"]] == ["running", "queued"]
    assert [job.state.job_id for job in side.reader.jobs(ListFilter(), 10)[0]] == ["job-00001"]


def test_items_of_a_running_batch_come_from_their_own_records(side: ReadSide) -> None:
    job = submitted("job-00001", total=2)
    item = Item(index=1, status=JobStatus.SUCCEEDED, attempts=2, result={"key": "results/x/1.png"})
    side.feed(
        submission_message(job),
        item_message("job-00001", item),
        state_message(state_of(job, 3, "running", "rs")),
    )
    first, second = side.view("job-00001")["items"]
    assert first["status"] == "running"
    assert second["result"] == {"key": "results/x/1.png"}
    assert second["filename"] == "1.jpg"
    assert second["links"]["result"] == "/v1/jobs/job-00001/items/1/result"
    assert second["attempts"] == 2


def test_tombstones_remove_items_and_jobs(side: ReadSide) -> None:
    job = submitted("job-00001")
    side.feed(submission_message(job), state_message(finished(job)))
    side.feed(tombstone("job-00001/0"))
    assert side.view("job-00001")["status"] == "succeeded"
    side.feed(tombstone("job-00001"))
    assert side.reader.job("job-00001") is None
    assert side.counted() == {}


def test_a_removed_job_does_not_come_back_with_its_old_submission(side: ReadSide) -> None:
    old = submitted("job-00001", created_at="2026-01-01T00:00:00.000Z")
    short = submitted("job-00002", expires_at="2026-03-01T11:00:00.000Z")
    side.feed(tombstone("job-00001"), tombstone("job-00002"))
    side.feed(submission_message(old), submission_message(short))
    assert side.reader.job("job-00001") is None
    assert side.reader.job("job-00002") is None


def test_item_messages_on_priority_topics_are_passed_over(side: ReadSide) -> None:
    job = submitted("job-00001", total=2)
    queued = ItemQueued(job_id="job-00001", index=0, job=job.header(), input=job.inputs[0])
    value, headers = cloudevents.encode(queued)
    assert side.feed(FakeMessage(NORMAL, b"job-00001/0", value, headers)) == []
    assert side.reader.job("job-00001") is None


def test_useless_messages_are_told_and_stop_nothing(side: ReadSide) -> None:
    job = submitted("job-00001")
    value, headers = cloudevents.encode(job)
    skipped = side.feed(
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
    assert side.view("job-00001")["status"] == "queued"
    assert side.store.offsets()[NORMAL, 0] == 10


_STATE = {"job_id": "job-00001", "revision": 1, "status": "running", "created_at": CREATED}


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
def test_a_column_that_no_row_can_have_is_told_and_stops_nothing(
    side: ReadSide, wrong: dict[str, Any]
) -> None:
    document = json.dumps(_STATE | wrong).encode()
    (told,) = side.feed(
        FakeMessage(STATE, b"job-00001", document), submission_message(submitted("job-00002"))
    )
    assert next(iter(wrong)) in told or "finished_at" in told or "the state of" in told
    assert side.reader.job("job-00001") is None
    assert side.view("job-00002")["status"] == "queued"


@pytest.mark.parametrize("key", ["5" * 5000, "99999999999999999999", "-1", "", "1.0", "1/2"])
@pytest.mark.parametrize("value", [b"{}", None], ids=["item", "tombstone"])
def test_a_number_that_no_item_has_stops_nothing(
    side: ReadSide, key: str, value: bytes | None
) -> None:
    skipped = side.feed(FakeMessage(STATE, f"job-00001/{key}".encode(), value))
    assert len(skipped) == 1
    assert len(skipped[0]) < 200


@pytest.mark.parametrize(
    "within",
    [
        {"outcomes": "zz"}, {"outcomes": "\u0000"}, {"items": [{"index": -4}]}, {"items": 1},
        {"outcomes": ".."}, {"total": 10**9}, {"metadata": []}, {"expires_at": "soon"},
        {"items": [{"index": 10**30}]}, {"attempts": 10**30}, {"metadata": {"deep": [10**30]}},
    ],
    ids=str,
)  # fmt: skip
def test_nobody_is_failed_by_what_a_stranger_wrote_into_a_state(
    side: ReadSide, within: dict[str, Any]
) -> None:
    items = [item_message("job-00001", Item(index=index)) for index in range(2)]
    items[0].value_ = b'{"index": "none"}'
    items[1].value_ = b'{"index": -9, "status": "queued"}'
    job = submitted("job-00001", total=2)
    document = json.dumps(_STATE | {"outcomes": "r."} | within).encode()
    state = FakeMessage(STATE, b"job-00001", document)
    assert side.feed(submission_message(job), *items, state) == []
    view = side.view("job-00001")
    assert len(orjson.loads(orjson.dumps(view))["items"]) == 2
    assert len(side.reader.jobs(ListFilter(), 10)[0]) == 1


def test_a_state_that_is_damaged_within_does_not_hide_its_job(side: ReadSide) -> None:
    job = submitted("job-00001")
    damaged = b'{"job_id": "job-00001", "revision": 3, "status": "running", "items": "none"}'
    side.feed(submission_message(job), FakeMessage(STATE, b"job-00001", damaged))
    side.feed(FakeMessage(STATE, b"job-00002", damaged.replace(b"00001", b"00002")))
    assert side.view("job-00001")["items"][0]["filename"] == "0.jpg"
    assert side.reader.job("job-00002") is None
    assert [job.state.job_id for job in side.reader.jobs(ListFilter(), 10)[0]] == ["job-00001"]


def test_rows_and_offsets_are_written_together_or_not_at_all(side: ReadSide) -> None:
    side.feed(submission_message(submitted("job-00001"), offset=3))
    changes = side.fold.fold([submission_message(submitted("job-00002"), offset=4)], HORIZON)
    changes.items["job-00002"] = {0: None}  # type: ignore[dict-item]  # no row can hold it
    with pytest.raises(sqlite3.IntegrityError):
        side.store.apply(changes)
    assert side.reader.job("job-00002") is None
    assert side.store.offsets() == {(NORMAL, 0): 4}


def test_many_rows_in_one_batch(side: ReadSide) -> None:
    jobs = [submitted(f"job-{number:05}") for number in range(700)]
    side.feed(*map(submission_message, jobs))
    side.feed(*(state_message(finished(job)) for job in jobs[:333]))
    assert side.counted() == {"queued": 367, "succeeded": 333}
    assert side.reader.count(JobStatus.QUEUED) == 367


def test_pages_are_newest_first_and_do_not_move_when_jobs_are_added(side: ReadSide) -> None:
    def job(number: int) -> FakeMessage:
        created = f"2026-03-01T10:{number // 2:02}:00.000Z"  # two jobs share each moment
        return submission_message(submitted(f"job-{number:05}", created_at=created))

    side.feed(*map(job, range(10)))
    seen: list[str] = []
    cursor: Cursor | None = None
    for added in (20, 21, 22):
        records, cursor = side.reader.jobs(ListFilter(), 4, cursor)
        seen += [record.state.job_id for record in records]
        cursor = Cursor.decode(cursor.encode()) if cursor else None
        side.feed(job(added))
    assert seen == [f"job-{number:05}" for number in reversed(range(10))]
    assert cursor is None


def test_lists_filter_by_status_operation_and_time(side: ReadSide) -> None:
    jobs = [
        submitted("job-00001", operation="noop", created_at="2026-03-01T01:00:00.000Z"),
        submitted("job-00002", operation="noop", created_at="2026-03-01T02:00:00.000Z"),
        submitted("job-00003", created_at="2026-03-01T03:00:00.000Z"),
    ]
    side.feed(*map(submission_message, jobs), state_message(finished(jobs[1])))

    def listed(**filters: object) -> list[str]:
        records, _ = side.reader.jobs(ListFilter(**filters), 10)  # type: ignore[arg-type]
        return [record.state.job_id[-1] for record in records]

    assert listed() == ["3", "2", "1"]
    assert listed(statuses=["queued"]) == ["3", "1"]
    assert listed(statuses=["queued", "succeeded"], operations=["noop"]) == ["2", "1"]
    assert listed(since="2026-03-01T02:00:00.000Z") == ["3", "2"]
    assert listed(until="2026-03-01T02:00:00.000Z") == ["1"]


def test_a_file_is_filled_first_and_counted_and_indexed_then(filling: ReadSide) -> None:
    jobs = [submitted(f"job-{number:05}") for number in range(20)]
    filling.feed(*map(submission_message, jobs))
    assert not filling.store.complete
    assert filling.view("job-00007")["status"] == "queued"
    filling.feed(*(state_message(finished(job)) for job in jobs[:5]), tombstone("job-00019"))
    filling.store.finish()
    assert filling.store.complete
    assert filling.counted() == {"queued": 14, "succeeded": 5}
    filling.feed(state_message(finished(jobs[7])), tombstone("job-00000"))
    assert filling.counted() == {"queued": 13, "succeeded": 5}
    filling.store.finish()
    assert filling.counted() == {"queued": 13, "succeeded": 5}


def test_a_complete_file_goes_on_where_it_was(side: ReadSide) -> None:
    side.feed(submission_message(submitted("job-00001"), offset=6))
    side.close()
    again = ReadSide(side.store.path)
    assert again.store.complete
    assert again.store.offsets() == {(NORMAL, 0): 7}
    assert again.counted() == {"queued": 1}
    again.close()


def test_a_file_whose_first_filling_was_cut_off_is_begun_anew(filling: ReadSide) -> None:
    filling.feed(submission_message(submitted("job-00001")))
    filling.close()
    again = ReadSide(filling.store.path)
    assert again.store.offsets() == {}
    assert again.reader.job("job-00001") is None
    again.close()


@pytest.mark.parametrize("text", ["x", "!!!!", "YWJj", "\u00e9\u00e9\u00e9\u00e9"])
def test_a_foreign_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.decode(text)


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "projection.db"
    path.write_bytes(b"this is no database" * 1000)
    store = ProjectionStore(path)
    assert store.offsets() == {}
    store.close()


def test_a_file_of_another_version_is_begun_anew(side: ReadSide) -> None:
    path = side.store.path
    side.feed(submission_message(submitted("job-00001")))
    side.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    again = ReadSide(path)
    assert again.store.offsets() == {}
    assert again.reader.job("job-00001") is None
    again.store.finish()
    assert again.counted() == {}
    again.close()


def test_a_file_from_another_cluster_is_told_apart(side: ReadSide) -> None:
    assert side.store.belongs_to("a")
    side.store.remember_cluster("a")
    side.feed(submission_message(submitted("job-00001")))
    assert not side.store.belongs_to("b")
    side.store.begin_anew("b")
    assert side.store.belongs_to("b")
    assert side.reader.job("job-00001") is None
    assert side.store.offsets() == {}
    assert not side.store.complete
    side.feed(submission_message(submitted("job-00002")))
    side.store.finish()
    assert side.counted() == {"queued": 1}
