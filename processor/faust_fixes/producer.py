"""The producer: idempotent, quick for one message, and sparing with requests for many."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as driver

from imagemill.kafka.load import LoadMeter

# A message of such a value is allowed, whatever its key and headers: the limit is megabytes.
_SURELY_FITS_BYTES = 256 << 10


class HardenedProducer(driver.Producer):
    """An idempotent producer; stock Faust turns idempotence on for exactly_once only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pace: LoadMeter = self.transport.pace
        # Partitions that aiokafka has found in the cluster's metadata.
        self._known: set[TopicPartition] = set()

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        **_transaction: Any,
    ) -> asyncio.Future[Any]:
        """Buffer a message; the future that this gives ends when it is delivered.

        Stock: asks of each message what it is and whether it is in a transaction, and signals it;
        aiokafka then lists the topic's partitions twice and adds up the message's size: half the
        time of a send. And it lingers always or never: always costs a single job
        that time at each of its hops, never costs a busy worker and its broker a request for
        every few messages.

        Raises:
            ProducerSendError: it cannot be sent at all.
        """
        producer = self._ensure_producer()
        batches = producer._message_accumulator
        # Read for each new batch of a partition.
        batches._linger_time = self.linger_ms / 1000 if self.pace.high else 0.0
        where = TopicPartition(topic, partition)
        try:
            if where in self._known and (value is None or len(value) < _SURELY_FITS_BYTES):
                timeout_s = producer._request_timeout_ms / 1000
                return await batches.add_message(where, key, value, timeout_s, None, headers or [])
            delivery = await producer.send(topic, value, key, partition, None, headers)
        except KafkaError as error:
            raise ProducerSendError(f"a message to {topic} cannot be sent: {error!r}") from error
        if partition is not None:
            self._known.add(where)
        return delivery
