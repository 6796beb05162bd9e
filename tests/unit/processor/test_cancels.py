"""Jobs lately asked to be cancelled: known to every worker, so that nothing is started in vain."""

from __future__ import annotations

from processor.cancels import CancelledJobs

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
