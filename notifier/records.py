"""Writes down every attempt, what must wait, and what was given up, on topics of their own."""

from __future__ import annotations

import asyncio
import logging

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import KafkaSettings
from schemas.cloudevents import Headers, encode
from schemas.topics import (
    JOBS_DEAD_LETTER,
    MAX_MESSAGE_BYTES,
    WEBHOOKS_ATTEMPTS,
    WEBHOOKS_DEAD_LETTER,
    WEBHOOKS_RETRY,
)
from schemas.webhooks import WebhookAttempt, WebhookDelivery

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# What is larger is refused for ever, with its headers.
_LARGEST = MAX_MESSAGE_BYTES - 64 * 1024


class DeliveryRecords:
    """Each call returns when all replicas have the record, however long the broker is away."""

    def __init__(self, producer: AsyncProducer, settings: KafkaSettings) -> None:
        self._producer = producer
        self._attempts = settings.topic(WEBHOOKS_ATTEMPTS.name)
        self._waiting = settings.topic(WEBHOOKS_RETRY.name)
        self._given_up = settings.topic(WEBHOOKS_DEAD_LETTER.name)
        self._undecodable = settings.topic(JOBS_DEAD_LETTER.name)

    async def attempted(self, attempt: WebhookAttempt) -> None:
        """Records an attempt."""
        value, headers = encode(attempt)
        await self._send(self._attempts, attempt.delivery_id.encode(), value, headers)

    async def put_aside(self, delivery: WebhookDelivery) -> None:
        """Keeps a delivery that is to be gone on with later."""
        value, headers = encode(delivery)
        if len(value) > _LARGEST:
            await self.gave_up(delivery, "The receiver is busy, and the event too large to wait.")
            return
        await self._send(self._waiting, delivery.delivery_id.encode(), value, headers)

    async def gave_up(self, delivery: WebhookDelivery, reason: str) -> None:
        """Keeps a delivery that will not be tried again by itself, so that it can be replayed."""
        value, headers = encode(delivery.evolve(reason=reason))
        if len(value) > _LARGEST:
            reason += " The body is too large to be kept; the job's event is on jobs.results."
            value, headers = encode(delivery.evolve(reason=reason, body=""))
        await self._send(self._given_up, delivery.delivery_id.encode(), value, headers)

    async def undecodable(
        self, key: bytes | None, value: bytes | None, headers: Headers, reason: Headers
    ) -> None:
        """Keeps a message of another topic unchanged; `reason` is added to its headers.

        Of one that has no room for that, only the headers: they tell where it is.
        """
        kept = value if len(value or b"") <= _LARGEST else None
        await self._send(self._undecodable, key, kept, [*headers, *reason])

    async def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        wait = _FIRST_WAIT_S
        while True:
            try:
                await self._producer.send(topic, key, value, headers)
                return
            except KafkaUnavailable as error:
                log.warning("%s cannot be written, trying again in %.1f s: %s", topic, wait, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)
