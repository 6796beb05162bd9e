"""Carries out the commands of `webhooks.commands`: replays of deliveries, and test events."""

from __future__ import annotations

import asyncio
import time

from confluent_kafka import Message

from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import KafkaSettings
from notifier.endpoints import Endpoints
from notifier.events.bodies import sample_delivery
from notifier.kafka.record_reader import RecordReader
from notifier.kafka.records import DeliveryRecords
from schemas.cloudevents import decode_webhook, decode_webhook_command
from schemas.topics import WEBHOOKS_ATTEMPTS, WEBHOOKS_DEAD_LETTER
from schemas.webhooks import (
    WebhookDelivery,
    WebhookEndpoint,
    WebhookReplay,
    WebhookTest,
    WebhookTrigger,
)

_REPLAYED = (WEBHOOKS_ATTEMPTS.name, WEBHOOKS_DEAD_LETTER.name)
# An endpoint may be so new that this process has not read it yet.
_ENDPOINT_TIMEOUT_S = 5.0
_ENDPOINT_POLL_S = 0.05


class CommandHandler:
    """Writes what a command asks for to `webhooks.retry`, from where it is posted at once."""

    def __init__(
        self,
        endpoints: Endpoints,
        reader: RecordReader,
        records: DeliveryRecords,
        settings: KafkaSettings,
    ) -> None:
        self._endpoints = endpoints
        self._reader = reader
        self._records = records
        self._settings = settings

    async def handle(self, message: Message) -> None:
        """Carry out the command in a message.

        Raises:
            ValueError: the message is no command, or it cannot be carried out.
            KafkaUnavailable: the delivery to be replayed cannot be read now.
        """
        command = decode_webhook_command(message.headers(), message.value())
        if isinstance(command, WebhookTest):
            delivery = sample_delivery(command, await self._endpoint(command.endpoint_id))
        else:
            delivery = await self._kept(command)
        await self._records.requeue(delivery)

    def released(self) -> None:
        """Do nothing: each command stands for itself."""

    async def _endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        end = time.monotonic() + _ENDPOINT_TIMEOUT_S
        while (endpoint := self._endpoints.get(endpoint_id)) is None:
            if time.monotonic() > end:
                raise ValueError(f"endpoint {endpoint_id} is unknown or deleted")
            await asyncio.sleep(_ENDPOINT_POLL_S)
        return endpoint

    async def _kept(self, command: WebhookReplay) -> WebhookDelivery:
        """Read the delivery that a command replays, with its body as it was first posted."""
        if command.topic not in _REPLAYED:
            raise ValueError(f"deliveries are not replayed from {command.topic}")
        place = TopicPartition(self._settings.topic(command.topic), command.partition)
        message = await self._reader.read(place, command.offset)
        record = decode_webhook(message.headers(), message.value())
        if record.delivery_id != command.delivery_id:
            raise ValueError(f"{place}@{command.offset} is of delivery {record.delivery_id}")
        if not record.body:
            raise ValueError(f"the body of delivery {record.delivery_id} was not kept")
        attempts = record.attempts if isinstance(record, WebhookDelivery) else record.attempt
        return WebhookDelivery(
            job_id=record.job_id,
            delivery_id=record.delivery_id,
            url=record.url,
            endpoint_id=record.endpoint_id,
            owner=record.owner,
            event=record.event,
            trigger=WebhookTrigger.REPLAY,
            body=record.body,
            attempts=attempts,
        )
