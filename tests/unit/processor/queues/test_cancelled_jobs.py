"""The list of cancelled jobs, which keeps workers from starting their items."""

from __future__ import annotations

from types import SimpleNamespace

from faust.types import TP

from processor.queues.cancelled_jobs import CancelledJobs
from schemas import cloudevents
from schemas.events import JobClaimed
from tests.support.edge import Client
from tests.support.facts import accepted, at, cancel, job

CONTROL = TP("jobs.control", 0)

EARLY, NOON, LATE = (f"2026-03-01T{hour}:00:00.000Z" for hour in ("06", "12", "18"))


def test_a_job_is_covered_by_a_request_that_came_after_it() -> None:
    jobs = CancelledJobs()
    jobs.add("a", NOON)
    assert jobs.covers("a", EARLY)
    assert jobs.covers("a", NOON)


def test_a_later_job_of_the_same_id_is_another_job() -> None:
    jobs = CancelledJobs()
    jobs.add("a", NOON)
    assert not jobs.covers("a", LATE)


def test_jobs_that_nobody_asked_for_are_not_covered() -> None:
    jobs = CancelledJobs()
    assert not jobs.covers("a", EARLY)
    assert not jobs.covers("a", ""), "a job may not say when it was made"


def test_only_so_many_are_remembered_the_latest_ones() -> None:
    jobs = CancelledJobs(limit=2)
    for number, job_id in enumerate(("a", "b", "a", "c")):
        jobs.add(job_id, f"2026-03-01T12:00:0{number}.000Z")
    assert [jobs.covers(job_id, EARLY) for job_id in "abc"] == [True, False, True]


def test_requests_are_found_among_whatever_else_is_on_the_topic() -> None:
    jobs, client = CancelledJobs(), Client()
    for event in (accepted(job(2, "b")), cancel(job(1, "a"))):
        jobs.observe(client.carrying(event, 0, CONTROL))
    jobs.observe(client.carrying(cancel(job(1, "c")), 0, CONTROL, value=b"?"))
    jobs.observe(client.message(0, CONTROL))
    assert [jobs.covers(job_id, at(0)) for job_id in "abc"] == [True, False, False]


def test_of_claims_only_the_type_is_looked_at() -> None:
    """A start reads the claims of a day, in the loop that serves the jobs."""
    claim = JobClaimed(job_id="a", claim_id="1", fingerprint="f", at=NOON)
    without_value = SimpleNamespace(headers=cloudevents.encode(claim).headers)
    CancelledJobs().observe(without_value)
