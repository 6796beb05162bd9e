"""The producer: idempotent, quick for one message, and sparing with requests for many."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as driver

from imagemill.pace import Pace


class HardenedProducer(driver.Producer):
    """An idempotent producer; stock Faust turns idempotence on for exactly_once only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pace = Pace()

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

        Stock: asks of each message what it is and whether it is in a transaction, and signals it:
        a third of the time of a send. And it lingers always or never: always costs a single job
        that time at each of its hops, never costs a busy worker and its broker a request for
        every few messages.

        Raises:
            ProducerSendError: it cannot be sent at all.
        """
        producer = self._ensure_producer()
        # Read for each new batch of a partition.
        linger_s = self.linger_ms / 1000 if self.pace.count(1) else 0.0
        producer._message_accumulator._linger_time = linger_s
        try:
            return await producer.send(topic, value, key, partition, None, headers)
        except KafkaError as exc:
            raise ProducerSendError(f"a message to {topic} cannot be sent: {exc!r}") from exc
