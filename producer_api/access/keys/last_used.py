"""Writes the last use of each key, so that keys nobody uses can be found and revoked."""

from __future__ import annotations

import asyncio
import logging
import time

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from producer_api.access.keys.ring import KeyRing
from schemas.access import KeyUsed
from schemas.times import from_epoch

log = logging.getLogger(__name__)

# Seconds between two writes of one key's last use, by all APIs together as far as they have read
# each other's: a record a request would be as many as the jobs'.
_EVERY_S = 60.0


class LastUsed:
    """Notes the uses of keys, for one asyncio loop."""

    def __init__(self, producer: AsyncProducer, topic: str, ring: KeyRing) -> None:
        """Write to `topic`, which is the full name, unless the ring has a recent use."""
        self._producer = producer
        self._topic = topic
        self._ring = ring
        self._due_s: dict[str, float] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, key_id: str) -> None:
        """Note that a request was made with that key just now; write it if that is due."""
        moment_s = time.time()
        if moment_s < self._due_s.get(key_id, 0.0):
            return
        self._due_s[key_id] = moment_s + _EVERY_S
        written = self._ring.last_used_at(key_id)
        if written is not None and written > from_epoch(moment_s - _EVERY_S):
            return
        task = asyncio.get_running_loop().create_task(self._write(key_id, from_epoch(moment_s)))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, key_id: str, at: str) -> None:
        used = KeyUsed(key_id=key_id, at=at).model_dump_json().encode()
        headers = [("content-type", b"application/json")]
        try:
            await self._producer.send(self._topic, key_id.encode(), used, headers)
        except KafkaUnavailable as error:
            # Of use to people alone: the next minute has another one.
            log.info("The last use of key %s was not written: %s", key_id, error)
