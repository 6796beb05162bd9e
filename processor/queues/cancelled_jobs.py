"""Every worker hears every cancel request, so that items of cancelled jobs are not started.

Only a saving: whether a job is cancelled is decided by the track agent.
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
    """The ids of jobs that were lately asked to be cancelled; the oldest are forgotten."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, str] = OrderedDict()

    def covers(self, job_id: str, created_at: str) -> bool:
        """Whether the job was asked to be cancelled after it was made.

        A client may use the id of a job that is long gone for a new one.
        """
        asked_at = self._ids.get(job_id)
        return asked_at is not None and asked_at >= created_at

    def add(self, job_id: str, at: str) -> None:
        """Remember a request and its time."""
        self._ids[job_id] = at
        self._ids.move_to_end(job_id)
        while len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def hear(self, message: Any) -> None:
        """Remember what a message of the control topic asks for, if it is a request.

        Most are claims, one for every request whose client chose the id, and a start reads all of
        a day: their type is all that is looked at.
        """
        try:
            if cloudevents.event_type(message.headers) != CancelRequested.TYPE:
                return
            event = cloudevents.decode(message.headers, message.value)
        except cloudevents.DecodeError:
            return  # the control agent sends it to the dead-letter topic
        assert isinstance(event, CancelRequested)
        self.add(event.job_id, event.at)

    async def listen(self, topic: str, client: dict[str, Any]) -> None:
        """Read all partitions of the control topic for ever, outside any consumer group.

        From the earliest message on: items may wait for days, those of a job cancelled while no
        worker ran too.
        """
        consumer = AIOKafkaConsumer(
            topic, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=500, **client
        )
        await consumer.start()
        try:
            async for message in consumer:
                self.hear(message)
        finally:
            await consumer.stop()
