"""Jobs of several owners in one file: lists, counts, and the images that each submitted."""

from __future__ import annotations

import time

import pytest

from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.listing import ListFilter
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput, JobState
from schemas.times import from_epoch
from tests.support.messages import (
    state_message,
    submission_message,
    submitted,
    tombstone,
)
from tests.support.readmodel import FedFile, finished

NOW_S = time.time()
CUTOFF = RetentionCutoff(from_epoch(NOW_S), from_epoch(NOW_S - 7 * 86_400))
TODAY = from_epoch(NOW_S)[:10]


def owned(job_id: str, owner: str | None, pixels: tuple[int | None, ...] = (100,)) -> JobSubmitted:
    """A job of today with an image for each number of pixels; None stands for a URL."""
    inputs = tuple(
        ItemInput(url="https://example.org/a.png") if size is None else ItemInput(pixels=size)
        for size in pixels
    )
    job = submitted(job_id, total=len(pixels), owner=owner, created_at=from_epoch(NOW_S))
    return job.model_copy(update={"inputs": inputs})


def without_owner(state: JobState) -> JobState:
    """The state as a worker of an earlier version writes it."""
    return state.model_copy(update={"owner": None})


def listed(file: FedFile, owner: str | None) -> list[str]:
    records, _ = file.queries.jobs(ListFilter(owner=owner), 10)
    return sorted(record.state.job_id for record in records)


def test_a_list_and_the_counts_are_those_of_one_owner(file: FedFile) -> None:
    jobs = [owned("job-00001", "alice"), owned("job-00002", "bob"), owned("job-00003", None)]
    file.feed(*map(submission_message, jobs), state_message(finished(jobs[0])), cutoff=CUTOFF)
    assert listed(file, "alice") == ["job-00001"]
    assert listed(file, "bob") == ["job-00002"]
    assert listed(file, "carol") == []
    assert len(listed(file, None)) == 3
    counted = file.queries.totals("", "alice")
    assert counted.counts == [("succeeded", "normal", "detect-objects", 1)]
    assert (counted.oldest_queued, counted.submitted, counted.ended) == (None, 1, 1)
    assert file.queries.totals("", "carol") == ([], None, 0, 0)
    assert sum(number for *_, number in file.queries.counts()) == 3


def test_a_list_of_one_owner_reads_its_jobs_alone(file: FedFile) -> None:
    """One of many owners must not scan the jobs of the others."""
    for wanted in (
        "owner = ? ORDER BY created_at DESC, job_id DESC LIMIT 21",
        "owner = ? AND status IN (?) ORDER BY created_at DESC, job_id DESC LIMIT 21",
    ):
        plan = file.reader.all(
            f"EXPLAIN QUERY PLAN SELECT job_id FROM jobs WHERE {wanted}", ("a",) * wanted.count("?")
        )
        (step,) = (row[-1] for row in plan)
        assert "jobs_by_owner" in step and step.startswith("SEARCH")


@pytest.mark.parametrize("order", ["submission first", "state first", "one batch"])
def test_the_owner_of_a_submission_stays_when_a_state_lacks_it(file: FedFile, order: str) -> None:
    job = owned("job-00001", "alice")
    messages = [submission_message(job), state_message(without_owner(finished(job)))]
    if order == "state first":
        messages.reverse()
    if order == "one batch":
        file.feed(*messages, cutoff=CUTOFF)
    else:
        for message in messages:
            file.feed(message, cutoff=CUTOFF)
    assert listed(file, "alice") == ["job-00001"]
    record = file.queries.job("job-00001")
    assert record is not None
    assert (record.state.owner, record.state.status) == ("alice", "succeeded")
    assert file.queries.totals("", "alice").counts[0][0] == "succeeded"


def test_an_owner_that_is_no_text_is_skipped(file: FedFile) -> None:
    message = submission_message(owned("job-00001", "alice"))
    message.value_ = (message.value_ or b"").replace(b'"alice"', b"7")
    assert "owner: not a string" in file.feed(message, cutoff=CUTOFF)[0]


def test_the_images_of_a_day_are_counted_once_for_each_owner(file: FedFile) -> None:
    alices, bobs = owned("job-00001", "alice", (100, None, 50)), owned("job-00002", "bob")
    file.feed(submission_message(alices), submission_message(bobs), cutoff=CUTOFF)
    file.feed(state_message(finished(bobs)), cutoff=CUTOFF)
    # A submission that the broker has twice.
    file.feed(submission_message(alices, offset=9), cutoff=CUTOFF)
    assert file.queries.usage("alice", TODAY)[:2] == (3, 150)
    assert file.queries.usage("bob", TODAY)[:2] == (1, 100)
    assert file.queries.usage("alice", "2000-01-01")[:2] == (0, 0)


def test_images_are_counted_when_the_state_was_read_before_the_submission(file: FedFile) -> None:
    job = owned("job-00001", "alice")
    file.feed(state_message(finished(job)), cutoff=CUTOFF)
    assert file.queries.usage("alice", TODAY)[:2] == (0, 0)
    file.feed(submission_message(job), cutoff=CUTOFF)
    assert file.queries.usage("alice", TODAY)[:2] == (1, 100)


def test_images_of_a_deleted_job_stay_counted(file: FedFile) -> None:
    """Else jobs that expire at once would have no quota."""
    file.feed(submission_message(owned("job-00001", "alice")), cutoff=CUTOFF)
    file.feed(tombstone("job-00001"), cutoff=CUTOFF)
    assert file.queries.job("job-00001") is None
    assert file.queries.usage("alice", TODAY)[:2] == (1, 100)


def test_a_rebuilt_file_counts_the_images_of_today_again(incomplete: FedFile) -> None:
    expired = owned("job-00002", "alice", (7,)).model_copy(
        update={"expires_at": from_epoch(NOW_S - 1)}
    )
    incomplete.feed(
        submission_message(owned("job-00001", "alice")), submission_message(expired), cutoff=CUTOFF
    )
    incomplete.writer.complete()
    assert incomplete.queries.job("job-00002") is None
    assert incomplete.queries.usage("alice", TODAY)[:2] == (2, 107)


@pytest.mark.parametrize(
    ("pixels", "counted"), [("-5", 0), ("1" + "0" * 18, 10**11), ('"many"', 0), ("1.5", 0)]
)
def test_pixels_of_a_foreign_writer_break_no_count(
    file: FedFile, pixels: str, counted: int
) -> None:
    message = submission_message(owned("job-00001", "alice"))
    message.value_ = (message.value_ or b"").replace(b'"pixels":100', f'"pixels":{pixels}'.encode())
    assert file.feed(message, cutoff=CUTOFF) == []
    assert file.queries.usage("alice", TODAY)[:2] == (1, counted)
