"""The events of running jobs, and posts of their progress."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from notifier.endpoints import Endpoints
from notifier.events.progress import ProgressPosts, due_events, running_state
from notifier.posts.delivery import DeliveryTask
from notifier.posts.host_limits import HostLimits
from schemas.cloudevents import encode_item, encode_state
from schemas.jobs import (
    ENDING_EVENTS,
    JOB_EVENTS,
    Item,
    JobState,
    JobStatus,
    Progress,
    Webhook,
    WebhookEvent,
)

AT = "2026-01-01T00:00:02.000Z"
ALL = tuple(WebhookEvent)
ROOT = Path(__file__).parents[4]


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
    """Posts that end once they are let; `bodies` are those posted."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.bodies: list[dict] = []

    async def deliver(self, task: DeliveryTask) -> bool:
        self.bodies.append(json.loads(task.delivery.body))
        with task.cancellable():
            await self.let.wait()
        return True

    @property
    def processed(self) -> list[int]:
        return [body["data"]["progress"]["processed"] for body in self.bodies]


def progress_posts(posts: Posts, backlog: int = 100) -> ProgressPosts:
    limits = HostLimits(total=4, per_host=1, backlog=backlog, wait_s=1)
    return ProgressPosts(limits, posts, Endpoints("endpoints", "status"))


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
def test_only_running_jobs_whose_webhook_asks_are_decoded(state: JobState, wanted: bool):
    assert (running_state(encode_state(state).value) is not None) == wanted


@pytest.mark.parametrize("event", [e for e in JOB_EVENTS if e not in ENDING_EVENTS])
def test_no_event_of_a_running_job_is_dropped_before_it_is_decoded(event: WebhookEvent):
    assert running_state(encode_state(running("r...", events=(event,))).value) is not None


def test_every_event_but_the_end_is_due_in_the_course_of_a_job():
    due, before = set(), None
    for processed, failed in ((0, 0), (1, 0), (2, 1), (4, 2)):
        progress = Progress(total=4, processed=processed, failed=failed)
        due |= set(due_events(before, progress))
        before = progress
    assert due == set(JOB_EVENTS) - set(ENDING_EVENTS)


@pytest.mark.parametrize("event", WebhookEvent)
def test_every_event_has_a_row_in_the_documentation(event: WebhookEvent):
    assert f"| `{event}` |" in (ROOT / "docs" / "webhooks.md").read_text()


def test_items_and_tombstones_are_passed_over():
    item = Item(index=0, status=JobStatus.RUNNING, filename='"job.progress"')
    assert running_state(encode_item("job-1", item).value) is None
    assert running_state(None) is None


async def test_the_start_is_due_once_and_progress_is_posted_when_it_changes():
    posts = Posts()
    posts.let.set()
    progress = progress_posts(posts)
    events = (WebhookEvent.STARTED, WebhookEvent.PROGRESS)
    (started,) = progress.observe(running("r...", events), AT)
    body = json.loads(started.body)
    assert (body["type"], body["timestamp"]) == ("job.started", AT)
    assert body["data"]["metadata"] == {"order": 7}
    for outcomes in ("rr..", "sr..", "srr.", "sfr."):
        assert progress.observe(running(outcomes, events), AT) == []
        await settled()
    assert posts.processed == [1, 2]
    assert posts.bodies[1]["data"]["progress"] == {"total": 4, "processed": 2, "failed": 1}
    assert len(progress) == 0


async def test_of_the_changes_during_a_post_the_newest_is_posted():
    posts = Posts()
    progress = progress_posts(posts)
    for outcomes in ("s...", "ss..", "sss."):
        assert progress.observe(running(outcomes, events=("job.progress",)), AT) == []
        await settled()
    assert (posts.processed, len(progress)) == ([1], 1)
    posts.let.set()
    await settled()
    assert (posts.processed, len(progress)) == ([1, 3], 0)


async def test_progress_of_a_busy_host_is_left_out():
    posts = Posts()
    progress = progress_posts(posts, backlog=1)
    progress.observe(running("s..."), AT)
    progress.observe(running("s...", job_id="job-2"), AT)
    await settled()
    assert [body["data"]["job_id"] for body in posts.bodies] == ["job-1"]
    posts.let.set()
    await settled()
    progress.observe(running("ss..", job_id="job-2"), AT)
    await settled()
    assert posts.bodies[-1]["data"]["job_id"] == "job-2"


async def test_closing_ends_a_post_and_frees_its_host():
    posts = Posts()
    limits = HostLimits(total=4, per_host=1, backlog=1, wait_s=1)
    progress = ProgressPosts(limits, posts, Endpoints("endpoints", "status"))
    progress.observe(running("s..."), AT)
    progress.observe(running("ss.."), AT)
    await settled()
    await progress.close(grace_s=5)
    assert (posts.processed, len(progress), limits.hosts) == ([1], 0, 0)
