"""Posts the events of running jobs, read from `jobs.state`, to webhooks and endpoints.

Most events are due once and delivered at least once. `job.progress` is due again and again: one
post per job is under way at most, and what changes meanwhile is in the next. Progress that is lost
in a crash, or finds its host busy, is superseded by the next, or by the job's end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from notifier.endpoints import Endpoints
from notifier.events.bodies import running_delivery
from notifier.posts.delivery import DeliveryTask
from notifier.posts.host_limits import HostLimits
from schemas.cloudevents import decode_state
from schemas.jobs import ENDING_EVENTS, JOB_EVENTS, JobState, JobStatus, Progress, WebhookEvent
from schemas.webhooks import WebhookDelivery, WebhookEndpoint

# A state is decoded only if these bytes are in it: most jobs ask for no such event, and most have
# ended. Derived from the enum, so that no event can be missing here.
_RUNNING = f'"status":"{JobStatus.RUNNING}"'.encode()
_SUBSCRIBED = tuple(f'"{event}"'.encode() for event in JOB_EVENTS if event not in ENDING_EVENTS)
# The other records of `jobs.state` are items of batches, which have no job id in their value.
_STATE_START = b'{"job_id":'
# Jobs whose last progress is remembered; the oldest are forgotten, and their events may repeat.
_MAX_REMEMBERED_JOBS = 10_000


def running_state(value: bytes | None, any_job: bool = False) -> JobState | None:
    """Decode a record of `jobs.state`; None unless the job runs and its events may be asked for.

    Args:
        value: the record's value.
        any_job: an endpoint asks for the events of running jobs; else only the job's own webhook
            can.

    Raises:
        DecodeError: the value is no state of a job.
    """
    if value is None or _RUNNING not in value:
        return None
    if not any_job and not any(name in value for name in _SUBSCRIBED):
        return None
    if not value.startswith(_STATE_START):
        return None
    state = decode_state(value)
    asked_for = any_job or state.webhook is not None
    return state if state.status is JobStatus.RUNNING and asked_for else None


def due_events(before: Progress | None, progress: Progress) -> Iterator[WebhookEvent]:
    """Yield the events that a change of progress makes due; `before` is None for a job's first."""
    if before is None:
        yield WebhookEvent.STARTED
    if progress.processed > (before.processed if before is not None else 0):
        yield WebhookEvent.PROGRESS


# A job, and the endpoint that gets its progress; None for its own webhook.
_Post = tuple[str | None, str | None]


class Posts(Protocol):
    """Posts held deliveries, as Deliverer does."""

    async def deliver(self, task: DeliveryTask) -> bool:
        """Post a held delivery; return False when it was not."""


class ProgressPosts:
    """Finds the events that are due of running jobs, and posts their progress."""

    def __init__(self, limits: HostLimits, posts: Posts, endpoints: Endpoints) -> None:
        self._limits = limits
        self._posts = posts
        self._endpoints = endpoints
        self._seen: OrderedDict[str, Progress] = OrderedDict()
        # Progress to post next, by the job and receiver whose progress is being posted.
        self._next: dict[_Post, WebhookDelivery | None] = {}
        self._tasks: dict[asyncio.Task[None], DeliveryTask] = {}

    def __len__(self) -> int:
        """Count the posts under way."""
        return len(self._tasks)

    def observe(self, state: JobState, at: str) -> list[WebhookDelivery]:
        """Start to post the job's progress; return what else is due, to be delivered for certain.

        `at` is the time of the state, and the timestamp of its events.
        """
        before, progress = self._seen.get(state.job_id), state.progress
        self._remember(state.job_id, progress)
        certain = []
        for event in due_events(before, progress):
            for endpoint in self._receivers(state, event):
                if event is WebhookEvent.PROGRESS:
                    repeat = f"{progress.processed}"
                    self._post(running_delivery(event, state, at, repeat, endpoint))
                else:
                    certain.append(running_delivery(event, state, at, endpoint=endpoint))
        return certain

    def _receivers(self, state: JobState, event: WebhookEvent) -> Iterator[WebhookEndpoint | None]:
        """Yield the endpoints that get the event, and None if the job's own webhook does."""
        if state.webhook is not None and event in state.webhook.events:
            yield None
        yield from self._endpoints.subscribed(state.owner, event)

    async def close(self, grace_s: float) -> None:
        """End all posts; attempts under way are given `grace_s` seconds."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        left = list(self._tasks)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _remember(self, job_id: str, progress: Progress) -> None:
        self._seen[job_id] = progress
        self._seen.move_to_end(job_id)
        while len(self._seen) > _MAX_REMEMBERED_JOBS:
            self._seen.popitem(last=False)

    def _post(self, delivery: WebhookDelivery) -> None:
        post = _post_of(delivery)
        if post in self._next:
            self._next[post] = delivery
            return
        task = DeliveryTask(delivery)
        if not self._limits.try_hold(task.host):
            return
        self._next[post] = None
        work = task.start(self._post_until_newest(task))
        self._tasks[work] = task
        work.add_done_callback(self._tasks.pop)

    async def _post_until_newest(self, task: DeliveryTask) -> None:
        post = _post_of(task.delivery)
        try:
            while not task.cancelled:
                await self._posts.deliver(task)
                newest = self._next[post]
                if newest is None:
                    break
                self._next[post] = None
                task.delivery = newest
        finally:
            del self._next[post]
            self._limits.release(task.host)


def _post_of(delivery: WebhookDelivery) -> _Post:
    return delivery.job_id, delivery.endpoint_id
