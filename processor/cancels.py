"""Every worker hears every cancel request, so that items of cancelled jobs are not started.

Only a saving: whether a job is cancelled is decided by the track agent.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer

from schemas import codec
from schemas.events import CancelRequested

log = logging.getLogger(__name__)


class CancelledJobs:
    """The ids of jobs that were lately asked to be cancelled; the oldest are forgotten."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._ids

    def add(self, job_id: str) -> None:
        """Remember a job."""
        self._ids[job_id] = None
        while len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    async def listen(self, topic: str, client: dict[str, Any]) -> None:
        """Read all partitions of the control topic for ever, outside any consumer group."""
        consumer = AIOKafkaConsumer(
            topic, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=500, **client
        )
        await consumer.start()
        try:
            async for message in consumer:
                try:
                    event = codec.decode(message.headers, message.value)
                except codec.DecodeError:
                    continue  # the control agent sends it to the dead-letter topic
                if isinstance(event, CancelRequested):
                    self.add(event.job_id)
        finally:
            await consumer.stop()
