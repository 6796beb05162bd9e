"""The list of cancelled jobs, kept by every worker so that their items are not started.

It only saves work: the tracker alone decides whether a job is cancelled (guarantee 6).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer

from schemas import cloudevents
from schemas.events import CancelRequested

log = logging.getLogger(__name__)


class CancelledJobs:
    """The ids of the jobs whose cancellation was requested last, `limit` of them at most."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, str] = OrderedDict()

    def covers(self, job_id: str, created_at: str) -> bool:
        """True if a cancel request came after the job was created.

        A client may use the id of an expired job for a new one.
        """
        requested_at = self._ids.get(job_id)
        return requested_at is not None and requested_at >= created_at

    def add(self, job_id: str, at: str) -> None:
        """Remember a request and its time."""
        self._ids[job_id] = at
        self._ids.move_to_end(job_id)
        while len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def observe(self, message: Any) -> None:
        """Remember the request in a message of the control topic, if it is one.

        Most messages are claims, one for every request whose client chose the job id, and a start
        reads those of a whole day. So of others than requests only the type is decoded.
        """
        try:
            if cloudevents.event_type(message.headers) != CancelRequested.TYPE:
                return
            event = cloudevents.decode(message.headers, message.value)
        except cloudevents.DecodeError:
            return  # the control agent dead-letters it
        assert isinstance(event, CancelRequested)
        self.add(event.job_id, event.at)

    async def listen(self, topic: str, client: dict[str, Any]) -> None:
        """Read all partitions of the control topic for ever, outside any consumer group.

        From the earliest message on: the items of a job that was cancelled while no worker ran may
        wait for days.

        Args:
            client: options of aiokafka's clients.
        """
        consumer = AIOKafkaConsumer(
            topic, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=500, **client
        )
        await consumer.start()
        try:
            async for message in consumer:
                self.observe(message)
        finally:
            await consumer.stop()
