"""The thread that fills the read side from the topics, and never stops for a bad message."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.cimpl import Message

from imagemill.kafka import consumer_config
from imagemill.settings import ApiSettings
from producer_api.projection_fold import Changes, Fold, Horizon, Position
from producer_api.projection_store import ProjectionStore
from schemas.times import from_epoch, now

log = logging.getLogger(__name__)

_BATCH = 2000
# Until the topics were read to their ends for the first time: the more of a job's messages come in
# one batch, the fewer rows are written; with more than these the garbage collector takes over.
_FIRST_BATCH = 5000
_FIRST_GATHER_S = 0.05
_POLL_S = 0.2
# Under load a batch is gathered this long: a transaction and a wake-up for each message would
# take a quarter of a core from the requests. A message after a pause is not held up.
_GATHER_S = 0.01
_RETRY_S = 1.0
_CLUSTER_TIMEOUT_S = 5.0
_DAY_S = 86_400.0
# How many undecodable messages are told one by one in a batch.
_TOLD = 5

OnChange = Callable[[set[str]], None]


class Feed:
    """Reads every partition of the topics into the store; offsets go in the same transaction.

    No consumer group is joined: each API process reads all of it, into its own file.
    """

    def __init__(self, settings: ApiSettings, store: ProjectionStore, on_change: OnChange) -> None:
        """`on_change` is called on the feed's thread after each transaction, with the jobs."""
        self._settings = settings
        self._store = store
        self._on_change = on_change
        self._fold = Fold(settings.topic_prefix)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection-feed", daemon=True)
        # Both are replaced, never changed, so that other threads may read them without a lock:
        # how far the topics were read, and the same once the file is complete. Until then, lists
        # and counts are not right, however far it is.
        self.reached: dict[Position, int] = {}
        self.positions: dict[Position, int] = {}
        self.skipped = 0
        self._last_batch = 0.0
        # While the file is filled: the partitions that were not read to their ends yet.
        self._filling = False
        self._unread: set[Position] = set()

    @property
    def partitions(self) -> list[Position]:
        """All partitions read."""
        count = self._settings.topic_partitions
        return [(topic, number) for topic in self._fold.topics for number in range(count)]

    @property
    def alive(self) -> bool:
        """Whether the thread runs; when it does not, the process is of no use any more."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (KafkaException, sqlite3.Error) as error:
                log.warning("Reading the topics begins again in %s s: %s", _RETRY_S, error)
                self._stopping.wait(_RETRY_S)

    def _read(self) -> None:
        """Read until told to stop; raises what the broker or the file cannot recover from."""
        consumer = Consumer(
            consumer_config(self._settings, "api-projection")
            | {"enable.partition.eof": True, "fetch.error.backoff.ms": 100}
        )
        try:
            self._settle_cluster(consumer)
            known = self._store.offsets()
            consumer.assign(
                [
                    TopicPartition(*position, known.get(position, OFFSET_BEGINNING))
                    for position in self.partitions
                ]
            )
            self._filling, self._unread = not self._store.complete, set(self.partitions)
            self._move_to(known)
            # Who waits for these positions is told now: a message may be long in coming.
            self._on_change(set())
            while not self._stopping.is_set():
                self._step(consumer)
        finally:
            consumer.close()

    def _settle_cluster(self, consumer: Consumer) -> None:
        """Empty the file when it was filled from another cluster: its offsets mean nothing here."""
        cluster_id = consumer.list_topics(timeout=_CLUSTER_TIMEOUT_S).cluster_id
        if not self._store.belongs_to(cluster_id):
            log.warning("The projection was of another Kafka cluster and is rebuilt from this one.")
            self._store.begin_anew(cluster_id)
        else:
            self._store.remember_cluster(cluster_id)

    def _step(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        batch = [first, *self._rest(consumer)]
        changes = self._fold.fold(
            (message for message in batch if message.error() is None), self._horizon()
        )
        for message in batch:
            if (error := message.error()) is not None:
                self._pass_over(error, message, changes)
        if changes.next or (self._filling and not self._unread):
            self._apply(changes)
            self._last_batch = time.monotonic()

    def _rest(self, consumer: Consumer) -> list[Message]:
        """What comes with a message, or shortly after it."""
        if self._filling:
            return consumer.consume(_FIRST_BATCH, _FIRST_GATHER_S)
        # consume() waits for a full batch as long as it may: not at all when it has been quiet.
        busy = time.monotonic() - self._last_batch < _GATHER_S
        return consumer.consume(_BATCH, _GATHER_S if busy else 0)

    def _apply(self, changes: Changes) -> None:
        self._store.apply(changes)
        if self._filling and not self._unread:
            self._store.finish()
            self._filling = False
        self._move_to(self.reached | changes.next)
        if changes.skipped:
            self.skipped += len(changes.skipped)
            for text in changes.skipped[:_TOLD]:
                log.warning("A message was skipped: %s", text)
        self._on_change(changes.job_ids())

    def _move_to(self, positions: dict[Position, int]) -> None:
        self.reached = positions
        self.positions = {} if self._filling else positions

    def _pass_over(self, error: KafkaError, message: Message, changes: Changes) -> None:
        """An event in place of a message: the end of a partition may move its position, too."""
        if error.code() == KafkaError._PARTITION_EOF:
            position = (str(message.topic()), int(message.partition() or 0))
            end = int(message.offset() or 0)
            self._unread.discard(position)
            if self.reached.get(position) != end:
                changes.next[position] = max(end, changes.next.get(position, 0))
        elif error.fatal() or (message.topic() is not None and not error.retriable()):
            raise KafkaException(error)
        else:
            log.info("The broker connection reports: %s", error)

    def _horizon(self) -> Horizon:
        return Horizon(now(), from_epoch(time.time() - self._settings.retention_days * _DAY_S))
