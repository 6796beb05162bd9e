"""Posts the events of running jobs, read from `jobs.state`, to the webhooks that ask for them.

Most events are due once and delivered at least once. `job.progress` is due again and again: one
post per job is under way at most, and what changes meanwhile is in the next. Progress that is lost
in a crash, or finds its host busy, is superseded by the next, or by the job's end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from notifier.bodies import running_delivery
from notifier.delivery import DeliveryTask
from notifier.host_limits import HostLimits
from schemas.cloudevents import decode_state
from schemas.jobs import ENDING_EVENTS, JOB_EVENTS, JobState, JobStatus, Progress, WebhookEvent
from schemas.webhooks import WebhookDelivery

# A state is decoded only if these bytes are in it: most jobs ask for no such event, and most have
# ended. Derived from the enum, so that no event can be missing here.
_RUNNING = f'"status":"{JobStatus.RUNNING}"'.encode()
_SUBSCRIBED = tuple(f'"{event}"'.encode() for event in JOB_EVENTS if event not in ENDING_EVENTS)
# Jobs whose last progress is remembered; the oldest are forgotten, and their events may repeat.
_MAX_REMEMBERED_JOBS = 10_000


def running_state(value: bytes | None) -> JobState | None:
    """Decode a record of `jobs.state`; None unless the job runs and a webhook asks for its events.

    Raises:
        DecodeError: the value is no state of a job.
    """
    if value is None or _RUNNING not in value or not any(name in value for name in _SUBSCRIBED):
        return None
    state = decode_state(value)
    return state if state.status is JobStatus.RUNNING and state.webhook is not None else None


def due_events(before: Progress | None, progress: Progress) -> Iterator[WebhookEvent]:
    """Yield the events that a change of progress makes due; `before` is None for a job's first."""
    if before is None:
        yield WebhookEvent.STARTED
    if progress.processed > (before.processed if before is not None else 0):
        yield WebhookEvent.PROGRESS


class Posts(Protocol):
    """Posts held deliveries, as Deliverer does."""

    async def deliver(self, task: DeliveryTask) -> bool:
        """Post a held delivery; return False when it was not."""


class ProgressPosts:
    """Finds the events that are due of running jobs, and posts their progress."""

    def __init__(self, limits: HostLimits, posts: Posts) -> None:
        self._limits = limits
        self._posts = posts
        self._seen: OrderedDict[str, Progress] = OrderedDict()
        # Progress to post next, by the job whose progress is being posted.
        self._next: dict[str, WebhookDelivery | None] = {}
        self._tasks: dict[asyncio.Task[None], DeliveryTask] = {}

    def __len__(self) -> int:
        """Count the posts under way."""
        return len(self._tasks)

    def observe(self, state: JobState, at: str) -> list[WebhookDelivery]:
        """Start to post the job's progress; return what else is due, to be delivered for certain.

        `at` is the time of the state, and the timestamp of its events.
        """
        assert state.webhook is not None
        before, progress = self._seen.get(state.job_id), state.progress
        self._remember(state.job_id, progress)
        certain = []
        for event in due_events(before, progress):
            if event not in state.webhook.events:
                continue
            if event is WebhookEvent.PROGRESS:
                self._post(running_delivery(event, state, at, f"{progress.processed}"))
            else:
                certain.append(running_delivery(event, state, at))
        return certain

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
        if delivery.job_id in self._next:
            self._next[delivery.job_id] = delivery
            return
        task = DeliveryTask(delivery)
        if not self._limits.try_hold(task.host):
            return
        self._next[delivery.job_id] = None
        work = task.start(self._post_until_newest(task))
        self._tasks[work] = task
        work.add_done_callback(self._tasks.pop)

    async def _post_until_newest(self, task: DeliveryTask) -> None:
        job_id = task.delivery.job_id
        try:
            while not task.cancelled:
                await self._posts.deliver(task)
                newest = self._next[job_id]
                if newest is None:
                    break
                self._next[job_id] = None
                task.delivery = newest
        finally:
            del self._next[job_id]
            self._limits.release(task.host)
