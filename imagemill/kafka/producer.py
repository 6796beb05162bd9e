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

# Seconds of one poll: the most that `close` waits for the polling thread.
_POLL_S = 0.1
# Messages a second above which the load is high: messages are then gathered for some milliseconds
# and produced together, since librdkafka makes a request of those that it finds at once. Its own
# linger.ms would delay a single message as well.
_HIGH_PER_S = 200
_GATHER_S = 0.005


class AsyncProducer:
    """A confluent-kafka producer whose deliveries are awaited in one event loop.

    librdkafka reports deliveries in the thread that polls. That thread is this object's own and
    wakes the event loop once for all deliveries of a moment. Polls by the loop itself would wake
    it each millisecond until the broker answers. confluent_kafka.aio.AIOProducer (2.16) is no
    alternative, since it buffers messages for up to a second by default.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is librdkafka's, as `producer_config` makes it."""
        self._producer = Producer(config)
        self._load = LoadMeter(_HIGH_PER_S)
        self._gathered: list[tuple[asyncio.Future[None], Callable[[], None]]] = []
        self._in_flight = 0
        self._reports: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Send a message and wait until all in-sync replicas have it.

        Raises:
            KafkaUnavailable: it was not acknowledged within the delivery timeout, or the queue of
                messages in flight is full.
        """
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            self._reports.append((delivered, error))
            # With more than one report the loop was woken before and has not read them yet.
            if len(self._reports) == 1 and not loop.is_closed():
                loop.call_soon_threadsafe(self._settle)

        produce = partial(
            self._producer.produce, topic, value, key, headers=headers, on_delivery=on_delivery
        )
        self._gathered.append((delivered, produce))
        # One sender that awaits each of its messages has no others to wait for, at any rate.
        others = self._in_flight + len(self._gathered) > 1
        if not self._load.count(others):
            self._produce_gathered()
        elif len(self._gathered) == 1:
            loop.call_later(_GATHER_S, self._produce_gathered)
        await delivered

    async def close(self, timeout_s: float = 10.0) -> None:
        """Wait for the messages in flight, `timeout_s` seconds at most, and end the thread."""
        self._produce_gathered()
        await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _produce_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        for delivered, produce in gathered:
            try:
                produce()
                self._in_flight += 1
            except (BufferError, KafkaException) as error:
                if not delivered.done():
                    delivered.set_exception(KafkaUnavailable(str(error)))
        if gathered and self._thread.ident is None:
            self._thread.start()

    def _settle(self) -> None:
        """Resolve the futures of the reported deliveries; runs in the event loop."""
        while self._reports:
            delivered, error = self._reports.popleft()
            self._in_flight -= 1
            if delivered.done():
                continue
            if error is None:
                delivered.set_result(None)
            else:
                delivered.set_exception(KafkaUnavailable(error.str()))

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)
