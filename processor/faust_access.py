"""Faust's consumer and producer as the parts use them, looked up at every call.

Faust makes both when its loop runs, long after the parts are built. So the parts get these objects,
which look the present one up.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from processor.faust_fixes.consumer import HardenedConsumer
from processor.messages.publisher import Delivery

# Longest wait for a record, where the log may have none.
_FIRST_RECORD_TIMEOUT_MS = 2000


class ConsumerAccess:
    """The app's consumer."""

    def __init__(self, app: faust.App, client_options: dict[str, Any]) -> None:
        """
        Args:
            client_options: of an aiokafka client that asks the broker by itself.
        """
        self._app = app
        self._client_options = client_options

    @property
    def _consumer(self) -> HardenedConsumer:
        return self._app.consumer

    @property
    def generation(self) -> int:
        """The consumer group's present generation."""
        return self._app.consumer_generation_id

    @property
    def rebalancing(self) -> bool:
        """True while partitions move or tables recover."""
        return self._app.rebalancing or self._app.in_recovery

    @property
    def recovered(self) -> bool:
        """True once the tables of the assigned partitions are complete."""
        return self._app.tables.recovery.completed.is_set()

    def seek_back(self, tp: TP, offset: int) -> None:
        """Read the partition again from `offset`, after the fetch that is under way."""
        self._consumer.seek_back(tp, offset)

    async def first_at(self, tp: TP, offset: int) -> int:
        """Find the first offset at or after `offset` that the log has, with another client.

        Raises:
            KafkaError, OSError: the broker cannot be asked.
        """
        part = TopicPartition(tp.topic, tp.partition)
        reader = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            **self._client_options,
        )
        await reader.start()
        try:
            reader.assign([part])
            reader.seek(part, offset)
            found = await reader.getmany(part, timeout_ms=_FIRST_RECORD_TIMEOUT_MS, max_records=1)
            if found:
                return found[part][0].offset
            # No record from there on: all removed, or only markers, which move the position.
            beginnings = await reader.beginning_offsets([part])
            return max(beginnings[part], await reader.position(part))
        finally:
            await reader.stop()

    def highwater(self, tp: TP) -> int:
        """The end of the partition's log as of the last fetch; 0 before the first."""
        return self._consumer.highwater(tp) or 0

    def received_to(self, tp: TP) -> int:
        """Return the offset behind the last message that was passed to an agent's stream."""
        read = self._consumer._read_offset[tp]
        return read + 1 if read is not None else 0

    def is_paused(self, tp: TP) -> bool:
        """True while the partition is paused by a full queue."""
        return self._consumer.is_paused(tp)

    def pause(self, tp: TP) -> None:
        """Fetch nothing more of the partition."""
        self._consumer.on_buffer_full(tp)

    def resume(self, tp: TP) -> None:
        """Fetch from the partition again."""
        self._consumer.on_buffer_drop(tp)


class ProducerAccess:
    """The app's producer."""

    def __init__(self, app: faust.App) -> None:
        self._app = app

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> Awaitable[Delivery]:
        """Buffer a message; the delivery ends when all replicas have it.

        Raises:
            ProducerSendError: it cannot be sent at all.
        """
        return self._app.producer.send(topic, key, value, partition, timestamp, headers)
