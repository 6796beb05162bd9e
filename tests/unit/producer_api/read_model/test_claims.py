"""The first claim of an id, by the order of the log and the claims' times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from producer_api.read_model.changes import RetentionCutoff
from schemas import cloudevents
from schemas.events import CancelRequested, JobClaimed
from schemas.times import from_epoch
from tests.support.messages import (
    CONTROL,
    FakeMessage,
    claim_message,
    submitted,
    tombstone,
)
from tests.support.readmodel import FedFile

_NOW_S = 1_900_000_000.0


def at(seconds: float) -> str:
    return from_epoch(_NOW_S + seconds)


class Control:
    """A read model that reads claims; its time is that of the last message."""

    def __init__(self, path: Path) -> None:
        self.file = FedFile(path)
        self.file.writer.complete()

    def read(self, *messages: FakeMessage, second: float = 0.0) -> list[str]:
        return self.file.feed(*messages, cutoff=RetentionCutoff(at(second), at(second - 86_400)))

    def winner(self, job_id: str = "job-00001") -> str | None:
        claim = self.file.claims.first(job_id)
        return claim and claim.claim_id


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "projection.db")
    yield made
    made.file.close()


def test_the_first_claim_of_an_id_stays_in_one_batch_or_two(control: Control) -> None:
    first, second, third = (claim_message("job-00001", name, at(0)) for name in "abc")
    other = claim_message("job-00002", "d", at(0), "g")
    control.read(first, second, other)
    control.read(third, first)
    assert control.winner() == "a"
    assert control.file.claims.first("job-00002") == ("g", "d", at(JobClaimed.LASTS_S), None)


def test_a_claim_that_has_ended_gives_way(control: Control) -> None:
    control.read(claim_message("job-00001", "a", at(0)))
    in_time, late = JobClaimed.LASTS_S - 1, JobClaimed.LASTS_S + 1
    control.read(claim_message("job-00001", "b", at(in_time)), second=in_time)
    assert control.winner() == "a"
    control.read(claim_message("job-00001", "c", at(late)), second=late)
    assert control.winner() == "c"


@pytest.mark.parametrize("off", [-2 * JobClaimed.LASTS_S, 2 * JobClaimed.LASTS_S])
def test_a_claim_from_the_far_past_or_future_is_none(control: Control, off: float) -> None:
    assert control.read(claim_message("job-00001", "a", at(off))) == []
    assert control.winner() is None


def test_a_claim_ends_with_its_job(control: Control) -> None:
    control.read(claim_message("job-00001", "a", at(0)))
    control.read(tombstone("job-00001"))
    assert control.winner() is None


def test_invalid_claims_are_reported_and_stop_nothing(control: Control) -> None:
    good = claim_message("job-00001", "a", at(0))
    damaged = FakeMessage(CONTROL, b"job-00001", b'{"job_id": "job-00001"}', good.headers_)
    elsewhere = claim_message("job-00001", "b", at(0), key="job-00002")
    assert len(control.read(damaged, elsewhere, good)) == 2
    assert control.winner() == "a"


def test_other_events_of_the_topic_are_passed_over(control: Control) -> None:
    job = submitted("job-00001")
    value, headers = cloudevents.encode(CancelRequested(job_id=job.job_id, at=at(0), job=job))
    assert control.read(FakeMessage(CONTROL, b"job-00001", value, headers)) == []
    assert control.file.queries.job("job-00001") is None
