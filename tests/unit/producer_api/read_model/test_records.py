"""Jobs as they are read from the messages in the file."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from producer_api.read_model.listing import ListFilter
from schemas.jobs import Item, JobState, JobStatus
from tests.support.messages import (
    CREATED,
    STATE,
    FakeMessage,
    item_message,
    state_message,
    state_of,
    submission_message,
    submitted,
)
from tests.support.readmodel import FedFile

_STATE = {"job_id": "job-00001", "revision": 1, "status": "running", "created_at": CREATED}


def test_a_submitted_job_is_readable_before_any_state_of_it(file: FedFile) -> None:
    file.feed(submission_message(submitted("job-00001", total=3, priority="high")))
    view = file.view("job-00001")
    assert view["status"] == "queued"
    assert view["priority"] == "high"
    assert view["progress"] == {"total": 3, "processed": 0, "failed": 0}
    assert [item["filename"] for item in view["items"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert {item["status"] for item in view["items"]} == {"queued"}


def test_a_state_that_knows_no_header_takes_it_from_the_submission(file: FedFile) -> None:
    file.feed(
        state_message(JobState(job_id="job-00001", revision=1, status="running", outcomes="r"))
    )
    file.feed(submission_message(submitted("job-00001", total=2)))
    view = file.view("job-00001")
    assert view["operation"] == "detect-objects"
    assert view["progress"]["total"] == 2
    assert [item["status"] for item in view["items"]] == ["running", "queued"]
    assert [job.state.job_id for job in file.queries.jobs(ListFilter(), 10)[0]] == ["job-00001"]


def test_items_of_a_running_batch_come_from_their_own_records(file: FedFile) -> None:
    job = submitted("job-00001", total=2)
    item = Item(index=1, status=JobStatus.SUCCEEDED, attempts=2, result={"key": "results/x/1.png"})
    file.feed(
        submission_message(job),
        item_message("job-00001", item),
        state_message(state_of(job, 3, "running", "rs")),
    )
    first, second = file.view("job-00001")["items"]
    assert first["status"] == "running"
    assert second["result"] == {"key": "results/x/1.png"}
    assert second["filename"] == "1.jpg"
    assert second["links"]["result"] == "/v1/jobs/job-00001/items/1/result"
    assert second["attempts"] == 2


@pytest.mark.parametrize(
    "within",
    [
        {"outcomes": "zz"}, {"outcomes": "\u0000"}, {"items": [{"index": -4}]}, {"items": 1},
        {"outcomes": ".."}, {"total": 10**9}, {"metadata": []}, {"expires_at": "soon"},
        {"items": [{"index": 10**30}]}, {"attempts": 10**30}, {"metadata": {"deep": [10**30]}},
    ],
    ids=str,
)  # fmt: skip
def test_an_invalid_state_of_a_foreign_writer_fails_no_read(
    file: FedFile, within: dict[str, Any]
) -> None:
    items = [item_message("job-00001", Item(index=index)) for index in range(2)]
    items[0].value_ = b'{"index": "none"}'
    items[1].value_ = b'{"index": -9, "status": "queued"}'
    job = submitted("job-00001", total=2)
    document = json.dumps(_STATE | {"outcomes": "r."} | within).encode()
    state = FakeMessage(STATE, b"job-00001", document)
    assert file.feed(submission_message(job), *items, state) == []
    view = file.view("job-00001")
    assert len(orjson.loads(orjson.dumps(view))["items"]) == 2
    assert len(file.queries.jobs(ListFilter(), 10)[0]) == 1


def test_an_invalid_state_does_not_hide_its_job(file: FedFile) -> None:
    job = submitted("job-00001")
    damaged = b'{"job_id": "job-00001", "revision": 3, "status": "running", "items": "none"}'
    file.feed(submission_message(job), FakeMessage(STATE, b"job-00001", damaged))
    file.feed(FakeMessage(STATE, b"job-00002", damaged.replace(b"00001", b"00002")))
    assert file.view("job-00001")["items"][0]["filename"] == "0.jpg"
    assert file.queries.job("job-00002") is None
    assert [job.state.job_id for job in file.queries.jobs(ListFilter(), 10)[0]] == ["job-00001"]
