"""The thread that reads the keys from their topics into the ring.

The read model follows compacted topics too, but keys do not go through its file: a start would
have no keys while millions of jobs are read, a damaged or outdated file would be without them, and
a revocation would wait behind the jobs of a busy moment. The topics of the keys are small, so each
start reads them from the beginning.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import closing

from confluent_kafka import KafkaException

from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import ApiSettings
from producer_api.access.keys.ring import KeyMessage, KeyRing
from producer_api.read_model.topic_reader import TopicReader
from schemas import topics

log = logging.getLogger(__name__)

_MAX_BATCH_MESSAGES = 1000
# How soon the thread notices that it is to stop.
_POLL_TIMEOUT_S = 0.2
_RETRY_S = 1.0


class KeyFeed:
    """Feeds a ring from the topics on a thread of its own; `start` once, then `stop`."""

    def __init__(self, settings: ApiSettings, ring: KeyRing) -> None:
        self._settings = settings
        self._ring = ring
        self._names = {
            settings.topic(topic.name): topic.name
            for topic in (topics.ACCESS_KEYS, topics.ACCESS_USED)
        }
        # Kept over errors: older messages read again would undo newer ones for a moment.
        self._offsets: dict[TopicPartition, int] = {}
        self._loaded = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-keys", daemon=True)

    def start(self) -> None:
        """Begin reading; the ring changes on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except KafkaException as error:
                log.warning("Reading the API keys begins again in %s s: %s", _RETRY_S, error)
            except Exception:
                # Were the thread to end by a defect, nobody would notice that revocations stop.
                log.exception("Reading the API keys begins again in %s s", _RETRY_S)
            self._stopping.wait(_RETRY_S)

    def _follow(self) -> None:
        """Read until `stop`. Raises KafkaException when reading must begin again."""
        with closing(TopicReader(self._settings)) as reader:
            reader.assign(self._names, self._offsets)
            while not self._stopping.is_set():
                first = reader.wait(_POLL_TIMEOUT_S)
                if first is not None:
                    self._pass_on(reader, [*first, *reader.read(_MAX_BATCH_MESSAGES, 0)])

    def _pass_on(self, reader: TopicReader, found: list) -> None:
        messages = []
        for message in found:
            messages.append(
                KeyMessage(self._names[message.topic()], message.key() or b"", message.value())
            )
            where = TopicPartition(message.topic(), message.partition())
            self._offsets[where] = message.offset() + 1
        # The last uses are of no importance to a start.
        keys = self._settings.topic(topics.ACCESS_KEYS.name)
        loaded = all(where.topic != keys for where in reader.unread)
        if (messages or loaded != self._loaded) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._apply, messages, loaded)
        self._loaded = loaded

    def _apply(self, messages: list[KeyMessage], loaded: bool) -> None:
        self._ring.apply(messages, loaded=loaded)
