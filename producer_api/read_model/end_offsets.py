"""The end offsets of partitions, asked of the broker for many requests at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as AskedPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition

Offsets = dict[TopicPartition, int]
_METADATA_TIMEOUT_S = 2.0


class EndOffsets:
    """Asks for end offsets, for one loop; one request to the broker serves all callers before it.

    At most one request is in flight, and the next one waits for it.
    """

    def __init__(self, admin: AdminClient, timeout_s: float) -> None:
        """`timeout_s` limits a request to the broker."""
        self._admin = admin
        self._timeout_s = timeout_s
        self._wanted: set[TopicPartition] = set()
        self._running: asyncio.Task[Offsets] | None = None
        self._next: asyncio.Task[Offsets] | None = None

    async def ask(self, partitions: Collection[TopicPartition]) -> Offsets:
        """Return the end offsets as of the call or later. Raises KafkaUnavailable."""
        self._wanted.update(partitions)
        if self._next is None:
            self._next = asyncio.create_task(self._request_after(self._running))
            self._next.add_done_callback(_retrieve)
        ends = await asyncio.shield(self._next)
        return {where: ends[where] for where in partitions}

    async def _request_after(self, running: asyncio.Task[Offsets] | None) -> Offsets:
        if running is not None:
            await asyncio.wait([running])
        # From here on this request is in flight: a caller that comes now may have published after
        # it, and needs the next one.
        self._running, self._next = self._next, None
        wanted, self._wanted = self._wanted, set()
        try:
            return await self._request(wanted)
        except KafkaException as error:
            await self._refresh_leaders()
            raise KafkaUnavailable(f"the ends of the topics are unknown: {error}") from error

    async def _request(self, partitions: Collection[TopicPartition]) -> Offsets:
        asked = {AskedPartition(*where): OffsetSpec.latest() for where in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=self._timeout_s)
        return {
            TopicPartition(where.topic, where.partition): (await asyncio.wrap_future(answer)).offset
            for where, answer in answers.items()
        }

    async def _refresh_leaders(self) -> None:
        """Read the cluster's metadata again, for the next request.

        librdkafka asks the leaders that it last knew. After a broker died these carry an old
        epoch, and every answer is FENCED_LEADER_EPOCH until something else makes it read the
        metadata: after five minutes, by default.
        """
        # While the broker is away there is no metadata; the next failure comes back here.
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(self._admin.list_topics, timeout=_METADATA_TIMEOUT_S)


def _retrieve(task: asyncio.Task[Offsets]) -> None:
    """Mark the exception as retrieved: all callers may have gone; those waiting have shield's."""
    if not task.cancelled():
        task.exception()
