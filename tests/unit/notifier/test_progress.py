"""What is told of running jobs."""

from __future__ import annotations

import asyncio
import json

import pytest

from notifier.delivery import Run
from notifier.host_limits import HostLimits
from notifier.progress import ProgressPosts, running_state
from schemas.cloudevents import encode_item, encode_state
from schemas.jobs import Item, JobState, JobStatus, Webhook

AT = "2026-01-01T00:00:02.000Z"
ALL = ("job.started", "job.progress", "job.finished")


def running(outcomes: str, events: tuple[str, ...] = ALL, **changes) -> JobState:
    state = JobState(
        job_id="job-1",
        total=4,
        operation="transform",
        status=JobStatus.RUNNING,
        outcomes=outcomes,
        started_at="2026-01-01T00:00:01.000Z",
        webhook=Webhook(url="https://receiver.test/hook", events=events),
        metadata={"order": 7},
    )
    return state.evolve(**changes)


class Posts:
    """Posts that end when they are let; what was posted, as kind and images processed."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.bodies: list[dict] = []

    async def __call__(self, run: Run) -> None:
        self.bodies.append(json.loads(run.delivery.body))
        await self.let.wait()

    @property
    def processed(self) -> list[int]:
        return [body["data"]["progress"]["processed"] for body in self.bodies]


def news(posts: Posts, backlog: int = 100) -> ProgressPosts:
    return ProgressPosts(HostLimits(total=4, per_host=1, backlog=backlog, wait_s=1), posts)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (running("r..."), True),
        (running("r...", events=("job.finished",)), False),
        (running("r...", webhook=None), False),
        (running("ssss", status=JobStatus.SUCCEEDED), False),
        (running("....", status=JobStatus.QUEUED), False),
    ],
)
def test_only_running_jobs_whose_submitter_asked_are_told_of(state: JobState, wanted: bool):
    assert (running_state(encode_state(state).value) is not None) == wanted


def test_items_and_tombstones_are_passed_over():
    item = Item(index=0, status=JobStatus.RUNNING, filename='"job.progress"')
    assert running_state(encode_item("job-1", item).value) is None
    assert running_state(None) is None


async def test_the_begin_is_told_once_and_progress_when_it_moves():
    posts = Posts()
    posts.let.set()
    teller = news(posts)
    begun = teller.hear(running("r..."), AT)
    assert begun is not None
    body = json.loads(begun.body)
    assert (body["type"], body["timestamp"]) == ("job.started", AT)
    assert body["data"]["metadata"] == {"order": 7}
    for outcomes in ("rr..", "sr..", "srr.", "sfr."):
        assert teller.hear(running(outcomes), AT) is None
        await settled()
    assert posts.processed == [1, 2]
    assert posts.bodies[1]["data"]["progress"] == {"total": 4, "processed": 2, "failed": 1}
    assert len(teller) == 0


async def test_of_what_comes_during_a_post_the_newest_is_told():
    posts = Posts()
    teller = news(posts)
    for outcomes in ("s...", "ss..", "sss."):
        assert teller.hear(running(outcomes, events=("job.progress",)), AT) is None
        await settled()
    assert (posts.processed, len(teller)) == ([1], 1)
    posts.let.set()
    await settled()
    assert (posts.processed, len(teller)) == ([1, 3], 0)


async def test_progress_of_a_host_that_is_busy_is_left_out():
    posts = Posts()
    teller = news(posts, backlog=1)
    teller.hear(running("s..."), AT)
    teller.hear(running("s...", job_id="job-2"), AT)
    await settled()
    assert [body["data"]["job_id"] for body in posts.bodies] == ["job-1"]
    posts.let.set()
    await settled()
    teller.hear(running("ss..", job_id="job-2"), AT)
    await settled()
    assert posts.bodies[-1]["data"]["job_id"] == "job-2"
