"""The thread that fills the read side from the topics, and never stops for a bad message."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import Message

from imagemill.kafka.load import LoadMeter
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import ApiSettings
from producer_api.read_model.changes import ChangeCollector, Changes, RetentionCutoff
from producer_api.read_model.rebuild import Rebuild
from producer_api.read_model.topic_reader import TopicReader, partitions_of
from producer_api.read_model.writer import ProjectionStore
from schemas.times import DAY_S, from_epoch, now

log = logging.getLogger(__name__)

_BATCH = 2000
_POLL_S = 0.2
# Under load a batch is gathered this long: a transaction and a wake-up for each message would
# take a quarter of a core from the requests. A message after a pause is not held up.
_GATHER_S = 0.01
# While hundreds come a second: nobody waits for one of them alone.
_BUSY_GATHER_S = 0.03
# While a request waits for what the feed has not read yet: less, and that is noticed this soon.
_HURRIED_S = 0.001
_SLICE_S = 0.002
_BUSY_SLICE_S = 0.01
_RETRY_S = 1.0
# How many undecodable messages are told one by one in a batch.
_TOLD = 5

OnChange = Callable[[set[str]], None]


class Feed:
    """Reads every partition of the topics into the store; offsets go in the same transaction.

    No consumer group is joined: each API process reads all of it, into its own file.
    """

    def __init__(self, settings: ApiSettings, store: ProjectionStore, on_change: OnChange) -> None:
        """`on_change` is called after each transaction, on the thread it was made by, with the
        jobs."""
        self._settings = settings
        self._store = store
        self._on_change = on_change
        self._fold = ChangeCollector(settings.topic_prefix)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection-feed", daemon=True)
        # Both are replaced, never changed, so that other threads may read them without a lock:
        # how far the topics were read, and the same once the file is complete. Until then, lists
        # and counts are not right, however far it is.
        self.reached: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.skipped = 0
        # How many wait for a transaction; set on another thread.
        self.awaited = 0
        self._last_batch = 0.0
        self._pace = LoadMeter()

    @property
    def partitions(self) -> list[TopicPartition]:
        """All partitions read."""
        return partitions_of(self._settings, self._fold.topics)

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
        with closing(TopicReader(self._settings)) as reader:
            self._settle_cluster(reader.cluster_id())
            if not self._store.complete and not self._fill():
                return
            self.reached = self.positions = self._store.offsets()
            # Who waits for these positions is told now: a message may be long in coming.
            self._on_change(set())
            reader.assign(self._fold.topics, self.positions)
            while not self._stopping.is_set():
                self._step(reader)

    def _settle_cluster(self, cluster_id: str) -> None:
        """Empty the file when it was filled from another cluster: its offsets mean nothing here."""
        if not self._store.belongs_to(cluster_id):
            log.warning("The projection was of another Kafka cluster and is rebuilt from this one.")
            self._store.begin_anew(cluster_id)
        else:
            self._store.remember_cluster(cluster_id)

    def _fill(self) -> bool:
        """Fill the file and call it complete; False when told to stop before."""
        self.reached, self.positions = {}, {}
        filling = Rebuild(self._settings, self._fold, self._store, self._filled, self._on_change)
        # They are written with the last rows: if they are there, only the end went wrong before.
        if not self._store.offsets():
            filling.run(self._stopping, self._horizon())
        if self._stopping.is_set():
            return False
        self._store.finish()
        return True

    def _filled(self, so_far: Changes) -> None:
        self.reached = dict(so_far.next)
        self._tell_skipped(so_far.skipped)

    def _step(self, reader: TopicReader) -> None:
        first = reader.wait(_POLL_S)
        if first is None:
            return
        changes = self._fold.fold([*first, *self._gather(reader)], self._horizon())
        ends = reader.take_ends().items()
        changes.move_to({where: end for where, end in ends if self.reached.get(where) != end})
        if changes.next:
            self._apply(changes)
            self._last_batch = time.monotonic()

    def _gather(self, reader: TopicReader) -> list[Message]:
        """What comes with a message, or shortly after it."""
        messages = reader.read(_BATCH, _HURRIED_S if self.awaited else 0)
        now_s = time.monotonic()
        busy = self._pace.count(len(messages))
        gather_s, slice_s = (_BUSY_GATHER_S, _BUSY_SLICE_S) if busy else (_GATHER_S, _SLICE_S)
        end_s = now_s + gather_s if now_s - self._last_batch < gather_s else now_s
        while not self.awaited and len(messages) < _BATCH and time.monotonic() < end_s:
            more = reader.read(_BATCH - len(messages), slice_s)
            self._pace.count(len(more))
            messages += more
        return messages

    def _apply(self, changes: Changes) -> None:
        self._store.apply(changes)
        self.reached = self.positions = self.positions | changes.next
        self._tell_skipped(changes.skipped)
        self._on_change(changes.job_ids())

    def _tell_skipped(self, skipped: list[str]) -> None:
        self.skipped += len(skipped)
        for text in skipped[:_TOLD]:
            log.warning("A message was skipped: %s", text)

    def _horizon(self) -> RetentionCutoff:
        return RetentionCutoff(
            now(), from_epoch(time.time() - self._settings.retention_days * DAY_S)
        )
