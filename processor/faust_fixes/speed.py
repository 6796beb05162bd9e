"""Shorter ways through Faust and aiokafka; none changes what is delivered, or in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from faust.sensors.monitor import Monitor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message

from imagemill.kafka.load import LoadMeter

# A message with a smaller value needs no check of its size, whatever its key and headers: the
# limit is megabytes.
_UNCHECKED_VALUE_BYTES = 256 << 10
# Longest wait of a fetch at the broker, milliseconds: a partition that becomes fetchable while a
# fetch waits is not in that fetch. Faust hard-codes 1500.
_FETCH_MAX_WAIT_MS = 50
# While records of any partition are fetched and unread, as those of a paused one are, aiokafka
# asks that broker for nothing else for 0.1 s, hard-coded. So a full low queue delayed the high
# one, and each partition's first changelog record delayed all others.
_PREFETCH_BACKOFF_S = 0.0
# While many messages come, a fetch waits this long for more of them, or for that many bytes: one
# fetch for every message is most of the work, the broker's too.
_BUSY_FETCH_WAIT_MS = 20
_BUSY_FETCH_BYTES = 64 << 10
# After this many such fetches in a row that brought a single message, no fetch waits for this
# long: many messages come, but each only when the one before is done, as from one client that
# awaits its results.
_MAX_USELESS_WAITS = 3
_NO_WAIT_S = 5.0


class RecordBatch(Message):
    """Messages of one partition that go to their agent as one: its value is their list.

    Stock: each message passes handler, event, queue and stream by itself, with a round of the loop
    for each: a third of the CPU of a job that does nothing.

    A batch is never acked, its messages are. Queues count it as one: see stream_buffer_maxsize.
    """

    def __init__(self, messages: list[Message]) -> None:
        first = messages[0]
        super().__init__(
            *first.tp,
            offset=first.offset,
            timestamp=first.timestamp,
            timestamp_type=first.timestamp_type,
            headers=None,
            key=None,
            value=messages,
            checksum=None,
            tp=first.tp,
            generation_id=first.generation_id,
        )


class RawSchema(faust.Schema):
    """A schema that decodes nothing: agents get the bytes.

    Stock: runs keys and values through codecs and type lookups even when both are bytes: 7 % of
    the CPU of a job that does nothing.
    """

    def compile(self, app: Any, **_options: Any) -> Any:
        """Make the function that makes an event of a message."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return faust.Event(app, message.key, message.value, message.headers, message)

        return decode


def _uncounted(self: Any, *args: Any, **kwargs: Any) -> None:
    return None


class QuietMonitor(Monitor):
    """Faust's monitor without its statistics of every message.

    Stock: they cost a third of the CPU of a job that does nothing.
    """

    on_message_in = on_message_out = _uncounted
    on_stream_event_in = on_stream_event_out = _uncounted
    on_send_initiated = on_send_completed = _uncounted
    on_table_get = on_table_set = on_table_del = _uncounted
    track_tp_end_offset = _uncounted


class ShortSend(driver.Producer):
    """A producer whose send goes straight to aiokafka's batches, and lingers under load only.

    Stock: asks of each message what it is and whether it is in a transaction, and signals it;
    aiokafka then lists the topic's partitions twice and adds up the message's size: half the time
    of a send. And it lingers always or never: always costs a single job that time at each of its
    hops, never costs a busy worker and its broker a request for every few messages.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.load: LoadMeter = self.transport.load
        # Partitions that aiokafka has found in the cluster's metadata.
        self._known: set[TopicPartition] = set()

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
        """Buffer a message; the future that this returns ends when it is delivered.

        Raises:
            ProducerSendError: it cannot be sent at all.
        """
        producer = self._ensure_producer()
        batches = producer._message_accumulator
        # Read by aiokafka for each new batch of a partition.
        batches._linger_time = self.linger_ms / 1000 if self.load.high else 0.0
        where = TopicPartition(topic, partition)
        try:
            if where in self._known and (value is None or len(value) < _UNCHECKED_VALUE_BYTES):
                timeout_s = producer._request_timeout_ms / 1000
                return await batches.add_message(where, key, value, timeout_s, None, headers or [])
            delivery = await producer.send(topic, value, key, partition, None, headers)
        except KafkaError as error:
            raise ProducerSendError(f"a message to {topic} cannot be sent: {error!r}") from error
        if partition is not None:
            self._known.add(where)
        return delivery


class PacedFetches(driver.AIOKafkaConsumerThread):
    """A consumer thread whose fetches are prompt, and full while many messages come.

    Stock: the waits of Faust and aiokafka are hard-coded, see the constants above.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.load: LoadMeter = self.transport.load
        self._useless_waits = 0

    async def on_start(self) -> None:
        """Start the client, then shorten its waits."""
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        fetcher._prefetch_backoff = _PREFETCH_BACKOFF_S
        self._wait_for_more(fetcher, False)

    @staticmethod
    def _wait_for_more(fetcher: Any, busy: bool) -> None:
        """Set what the next fetches wait for."""
        fetcher._fetch_max_wait_ms = _BUSY_FETCH_WAIT_MS if busy else _FETCH_MAX_WAIT_MS
        fetcher._fetch_min_bytes = _BUSY_FETCH_BYTES if busy else 1

    def _is_busy(self, fetched: int) -> bool:
        """Decide whether fetches should wait for more, after one of `fetched` messages."""
        if not self.load.count(fetched) or not fetched:
            return self.load.high
        self._useless_waits = self._useless_waits + 1 if fetched == 1 else 0
        if self._useless_waits == _MAX_USELESS_WAITS:
            self._useless_waits = 0
            self.load.hold_low(_NO_WAIT_S)
        return self.load.high

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: AbstractSet[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        records = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        fetched = sum(map(len, records.values())) if records else 0
        self._wait_for_more(consumer._fetcher, self._is_busy(fetched))
        return records
