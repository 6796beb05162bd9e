"""Writes to the notifier's own topics: attempts, retries, deliveries given up, dead letters."""

from __future__ import annotations

import asyncio
import logging
import time

from confluent_kafka import Message

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import KafkaSettings
from notifier.kafka.consumer import place_of
from schemas.cloudevents import Headers, encode
from schemas.times import to_epoch
from schemas.topics import (
    JOBS_DEAD_LETTER,
    MAX_MESSAGE_BYTES,
    WEBHOOKS_ATTEMPTS,
    WEBHOOKS_DEAD_LETTER,
    WEBHOOKS_DELAYS,
    WEBHOOKS_ENDPOINT_STATUS,
    WEBHOOKS_RETRY,
    Topic,
)
from schemas.webhooks import EndpointStatus, WebhookAttempt, WebhookDelivery

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 30.0
# The broker refuses a message of more than MAX_MESSAGE_BYTES, key and headers included.
_MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - (64 << 10)


def retry_topic(delivery: WebhookDelivery, at: float) -> Topic:
    """Return the topic on which a delivery waits at a Unix time.

    It is the one of the longest delay that ends before the delivery is due; after that delay the
    rest follows in the same way. All records of a topic wait for as long, so none that is due waits
    behind one that is not.
    """
    left_s = to_epoch(delivery.due_at) - at if delivery.due_at is not None else 0.0
    fitting = [delay_s for delay_s in WEBHOOKS_DELAYS if delay_s <= left_s]
    return WEBHOOKS_DELAYS[max(fitting)] if fitting else WEBHOOKS_RETRY


class DeliveryRecords:
    """Writes records to Kafka; each call returns when all replicas have the record.

    While the broker is away, a call retries: its message is not committed, so nothing is lost.
    """

    def __init__(self, producer: AsyncProducer, settings: KafkaSettings) -> None:
        self._producer = producer
        self._attempts = settings.topic(WEBHOOKS_ATTEMPTS.name)
        self._topic = settings.topic
        self._status = settings.topic(WEBHOOKS_ENDPOINT_STATUS.name)
        self._given_up = settings.topic(WEBHOOKS_DEAD_LETTER.name)
        self._dead_letters = settings.topic(JOBS_DEAD_LETTER.name)

    async def attempted(self, attempt: WebhookAttempt) -> None:
        """Record an attempt, on `webhooks.attempts`.

        Those of one endpoint have its id as their key, since one process reads them in order.
        """
        value, headers = encode(attempt)
        if len(value) > _MAX_VALUE_BYTES:
            value, headers = encode(attempt.evolve(body=None))
        key = attempt.endpoint_id or attempt.delivery_id
        await self._send(self._attempts, key.encode(), value, headers)

    async def requeue(self, delivery: WebhookDelivery) -> None:
        """Append a delivery to the retry topic that fits the time until it is due."""
        value, headers = encode(delivery)
        if len(value) > _MAX_VALUE_BYTES:
            await self.give_up(delivery, "The receiver is busy, and the event too large to wait.")
            return
        topic = self._topic(retry_topic(delivery, time.time()).name)
        await self._send(topic, delivery.delivery_id.encode(), value, headers)

    async def endpoint_status(self, status: EndpointStatus) -> None:
        """Write what was found out about an endpoint, to `webhooks.endpoint-status`."""
        value = status.model_dump_json(exclude_none=True).encode()
        await self._send(self._status, status.endpoint_id.encode(), value, [])

    async def delete_endpoint_status(self, endpoint_id: str) -> None:
        """Write a tombstone to `webhooks.endpoint-status`."""
        await self._send(self._status, endpoint_id.encode(), None, [])

    async def give_up(self, delivery: WebhookDelivery, reason: str) -> None:
        """Keep a delivery that ends without success on `webhooks.dead-letter`, for a replay."""
        value, headers = encode(delivery.evolve(reason=reason))
        if len(value) > _MAX_VALUE_BYTES:
            reason += " The body is too large to be kept; the job's event is on jobs.results."
            value, headers = encode(delivery.evolve(reason=reason, body=""))
        await self._send(self._given_up, delivery.delivery_id.encode(), value, headers)

    async def dead_letter(self, message: Message, reason: str) -> None:
        """Copy an undecodable message to `jobs.dead-letter`, source and reason in its headers.

        A value that is too large to be copied is left out: the headers say where it is.
        """
        (topic, number), offset = place_of(message)
        log.error("%s-%d@%d: %s", topic, number, offset, reason)
        value = message.value()
        headers = [
            *(message.headers() or ()),
            ("imagemill-source-topic", topic.encode()),
            ("imagemill-source-partition", str(number).encode()),
            ("imagemill-source-offset", str(offset).encode()),
            ("imagemill-error", reason.encode(errors="replace")),
        ]
        kept = value if len(value or b"") <= _MAX_VALUE_BYTES else None
        await self._send(self._dead_letters, message.key(), kept, headers)

    async def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                await self._producer.send(topic, key, value, headers)
                return
            except KafkaUnavailable as error:
                log.warning("%s cannot be written, retry in %.1f s: %s", topic, backoff_s, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)
