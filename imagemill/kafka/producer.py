"""A confluent-kafka producer for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.load import LoadMeter

# A closing producer waits this long for its thread.
_POLL_S = 0.1
# While so many messages are sent they are handed over together, this far apart: librdkafka makes a
# request of what it has when it looks. Its own linger would hold up a single message as well.
_HIGH_PER_S = 200
_GATHER_S = 0.005


class AsyncProducer:
    """A confluent-kafka producer whose deliveries are awaited from one asyncio loop.

    librdkafka calls back on the thread that polls. That is one of this object's own, which wakes
    the loop once for all that it has to tell: polls by the loop itself would be as many wake-ups
    as there are milliseconds until the broker answers, and notice the answer half of one late.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._producer = Producer(config)
        self._pace = LoadMeter(_HIGH_PER_S)
        self._gathered: list[tuple[asyncio.Future[None], Callable[[], None]]] = []
        self._under_way = 0
        self._told: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Send a message and wait until all replicas have it.

        Raises:
            KafkaUnavailable: not acknowledged within the delivery timeout, or the queue is full.
        """
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            self._told.append((delivered, error))
            # With more than one, the loop has been woken and has not come to the first yet.
            if len(self._told) == 1 and not loop.is_closed():
                loop.call_soon_threadsafe(self._settle)

        produce = partial(
            self._producer.produce, topic, value, key, headers=headers, on_delivery=on_delivery
        )
        self._gathered.append((delivered, produce))
        # One sender that awaits each of its messages has nothing to wait for, however many it has.
        others = self._under_way + len(self._gathered) > 1
        if not self._pace.count(others):
            self._hand_over()
        elif len(self._gathered) == 1:
            loop.call_later(_GATHER_S, self._hand_over)
        await delivered

    def _hand_over(self) -> None:
        """Give librdkafka what was gathered."""
        gathered, self._gathered = self._gathered, []
        for delivered, produce in gathered:
            try:
                produce()
                self._under_way += 1
            except (BufferError, KafkaException) as error:
                if not delivered.done():
                    delivered.set_exception(KafkaUnavailable(str(error)))
        if gathered and self._thread.ident is None:
            self._thread.start()

    def _settle(self) -> None:
        """On the loop: let those go on whose messages were delivered, or not."""
        while self._told:
            delivered, error = self._told.popleft()
            self._under_way -= 1
            if delivered.done():
                continue
            if error is None:
                delivered.set_result(None)
            else:
                delivered.set_exception(KafkaUnavailable(error.str()))

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Wait for what is under way."""
        self._hand_over()
        await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
