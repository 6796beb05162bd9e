"""Reads messages and handles one after the other, in the order of their partition."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import Message

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition
from notifier.kafka.consumer import WatermarkConsumer, place_of
from notifier.kafka.records import DeliveryRecords

log = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.5
_MAX_BATCH_MESSAGES = 100
_RETRY_S = 1.0


class MessageHandler(Protocol):
    """Handles the messages of a sequential loop."""

    async def handle(self, message: Message) -> None:
        """Handle a message; once this returns, it is not read again.

        Raises:
            ValueError: the message cannot be handled, and goes to `jobs.dead-letter`.
        """

    def released(self) -> None:
        """Forget what was learned from partitions, as some move to another process."""


class SequentialLoop:
    """One consumer, and the handler of its messages."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: list[str],
        handler: MessageHandler,
        records: DeliveryRecords,
    ) -> None:
        self._consumer = WatermarkConsumer(config, self._release)
        self._topics = topics
        self._handler = handler
        self._records = records
        self._stopping = False

    def stop(self) -> None:
        """Make `run` return after the message under way."""
        self._stopping = True

    async def run(self) -> None:
        """Read until `stop`.

        Raises:
            KafkaException: the consumer cannot go on.
        """
        await self._consumer.subscribe(self._topics)
        commit_at = 0.0
        while not self._stopping:
            for message in await self._consumer.poll(_MAX_BATCH_MESSAGES):
                if not await self._handle(message):
                    break
                self._consumer.done(*place_of(message))
            if time.monotonic() >= commit_at:
                await self._consumer.commit()
                commit_at = time.monotonic() + _COMMIT_INTERVAL_S

    async def close(self) -> None:
        """Commit, and leave the group."""
        await self._consumer.close()

    async def _handle(self, message: Message) -> bool:
        """Handle a message; return False on `stop`, so that it is read again at the next start."""
        while not self._stopping:
            try:
                await self._handler.handle(message)
                return True
            except KafkaUnavailable as error:
                log.warning("a message is handled again in %.0f s: %s", _RETRY_S, error)
            except ValueError as error:
                await self._records.dead_letter(message, str(error))
                return True
            except Exception as error:
                # Guarantee 5: a defect of ours would repeat each time that the message is read.
                log.exception("a message broke the notifier")
                await self._records.dead_letter(message, f"internal error: {error!r}")
                return True
            await asyncio.sleep(_RETRY_S)
        return False

    async def _release(self, _partitions: list[TopicPartition]) -> None:
        self._handler.released()
