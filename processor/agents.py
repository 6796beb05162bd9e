"""Wires Faust's agents: one for each topic, with the part that gets its admitted messages.

This is the only place where messages come out of Faust's streams.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import faust

from processor.faust_app import ProcessorApp, raw_topic
from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.control import ControlTopic
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from processor.state.tracker import Tracker
from schemas import topics
from schemas.jobs import Priority

Handler = Callable[[AdmittedMessage], Awaitable[None]]


class Agents:
    """The agents of a worker."""

    def __init__(
        self,
        admission: Admission,
        queue: PriorityQueue,
        retries: RetryQueue,
        control: ControlTopic,
        tracker: Tracker,
    ) -> None:
        self._admission = admission
        self._queue = queue
        self._retries = retries
        self._control = control
        self._tracker = tracker

    def register(self, app: ProcessorApp) -> None:
        """Declare the agents to Faust, which starts them with the app."""
        for priority, topic in topics.PRIORITY_TOPICS.items():
            self._agent(app, topic, f"infer_{priority}", partial(self._enqueue, priority))
        self._agent(app, topics.JOBS_RETRY, "retry", self._retries.put)
        self._agent(app, topics.JOBS_CONTROL, "control", self._control.forward)
        self._agent(app, topics.JOBS_EVENTS, "track", self._tracker.track)

    async def _enqueue(self, priority: Priority, admitted: AdmittedMessage) -> None:
        self._queue.put(priority, admitted)

    def _agent(self, app: ProcessorApp, topic: topics.Topic, name: str, handle: Handler) -> None:
        async def consume(stream: faust.Stream[Any]) -> None:
            # Without acks of Faust's own: it acks a message whose agent raised
            # (faust-streaming #189, #527).
            async for batch in stream.noack():
                for message in batch:
                    admitted = self._admission.admit(message)
                    if admitted is not None:
                        await handle(admitted)

        app.agent(raw_topic(app, app.settings, topic.name), name=name)(consume)
