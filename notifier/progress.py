"""What is told of running jobs: that one has begun, and how far it is, to those who asked for it.

Progress is passing: at most one post a job is under way, and what comes meanwhile is told by the
newest of it. What is lost in a crash, or finds the host busy, is told by the next, or by the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import to_json

from notifier.delivery import Run
from notifier.host_limits import HostLimits
from schemas.cloudevents import decode_state
from schemas.jobs import JobState, JobStatus, WebhookEvent
from schemas.webhooks import WebhookDelivery, delivery_id

log = logging.getLogger(__name__)

# A state is decoded only if these are in it: most jobs ask for none of this, and most have ended.
_RUNNING = f'"status":"{JobStatus.RUNNING}"'.encode()
_WANTED = tuple(
    f'"{event}"'.encode() for event in WebhookEvent if event is not WebhookEvent.FINISHED
)
# Running jobs that are remembered; the oldest are forgotten, and may be told of twice.
_REMEMBERED = 10_000


def running_state(value: bytes | None) -> JobState | None:
    """The job in a record of `jobs.state`, if it runs and somebody wants to hear of that.

    Raises:
        DecodeError: it is no state of a job.
    """
    if value is None or _RUNNING not in value or not any(name in value for name in _WANTED):
        return None
    state = decode_state(value)
    return state if state.status is JobStatus.RUNNING and state.webhook is not None else None


class ProgressPosts:
    """Decides what is to be told of running jobs, and posts progress."""

    def __init__(self, slots: HostLimits, deliver: Callable[[Run], Awaitable[object]]) -> None:
        """`deliver` posts a delivery of a host that `slots` admitted."""
        self._slots = slots
        self._deliver = deliver
        self._told: OrderedDict[str, int] = OrderedDict()
        self._newest: dict[str, WebhookDelivery | None] = {}
        self._runs: dict[asyncio.Task[None], Run] = {}

    def __len__(self) -> int:
        """Posts under way."""
        return len(self._runs)

    @property
    def runs(self) -> list[Run]:
        """The posts under way, to be called off."""
        return list(self._runs.values())

    def hear(self, state: JobState, at: str) -> WebhookDelivery | None:
        """What must be told of a running job for certain: its begin, once. Tells its progress.

        `at` is when it was so.
        """
        assert state.webhook is not None
        events, done = state.webhook.events, state.progress.processed
        before = self._told.get(state.job_id)
        self._told[state.job_id] = done
        self._told.move_to_end(state.job_id)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        if WebhookEvent.PROGRESS in events and done > (before or 0):
            self._tell(_delivery(WebhookEvent.PROGRESS, state, at, f"{done}"))
        if WebhookEvent.STARTED in events and before is None:
            return _delivery(WebhookEvent.STARTED, state, at, "")
        return None

    def _tell(self, delivery: WebhookDelivery) -> None:
        if delivery.job_id in self._newest:
            self._newest[delivery.job_id] = delivery
            return
        run = Run(delivery)
        if not self._slots.admit(run.host):
            return
        self._newest[delivery.job_id] = None
        run.task = asyncio.create_task(self._post(run))
        self._runs[run.task] = run
        run.task.add_done_callback(self._runs.pop)

    async def _post(self, run: Run) -> None:
        """Until there is nothing newer to tell."""
        job_id = run.delivery.job_id
        try:
            while not run.called_off:
                await self._deliver(run)
                newest = self._newest[job_id]
                if newest is None:
                    break
                self._newest[job_id] = None
                run.delivery = newest
        except Exception:
            log.exception("the progress of job %s broke the notifier", job_id)
        finally:
            del self._newest[job_id]
            self._slots.leave(run.host)


def _delivery(kind: WebhookEvent, state: JobState, at: str, part: str) -> WebhookDelivery:
    assert state.webhook is not None
    told = {"job_id", "status", "operation", "priority", "created_at", "started_at", "metadata"}
    data: dict[str, Any] = state.model_dump(mode="json", include=told)
    data["progress"] = state.progress.model_dump()
    return WebhookDelivery(
        job_id=state.job_id,
        delivery_id=delivery_id(f"{state.job_id}/{kind}.v1/{part}"),
        url=state.webhook.url,
        body=to_json({"type": kind, "timestamp": at, "data": data}, inf_nan_mode="null").decode(),
    )
