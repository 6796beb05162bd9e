"""The thread that keeps the file as new as the topics.

It reads every partition of the topics, without a consumer group: each API process has a file of
its own. An empty file is filled by rebuild.py first; from then on each batch goes in one
transaction with its offsets, so that a restart reads on exactly where the file ends.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Message

from imagemill.kafka.load import LoadMeter
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import ApiSettings
from producer_api.read_model import schema
from producer_api.read_model.changes import ChangeCollector, Changes, RetentionCutoff
from producer_api.read_model.origin import Origin, present_origin
from producer_api.read_model.partitions import ReadPartitions
from producer_api.read_model.rebuild import Rebuild
from producer_api.read_model.topic_reader import TopicReader
from producer_api.read_model.waiters import TransactionWaiters
from producer_api.read_model.writer import ReadModelWriter

log = logging.getLogger(__name__)

_MAX_BATCH_MESSAGES = 2000
# How soon the thread notices that it is to stop.
_POLL_TIMEOUT_S = 0.2
# How long messages are gathered into one transaction, from the first one on: a transaction and a
# wake-up of the loop for each would take a quarter of a core from the requests. The first message
# after a pause is written at once.
_GATHER_S = 0.01
# The same under high load, when nobody waits for one message alone.
_HIGH_LOAD_GATHER_S = 0.03
# The same while a request waits for what is not read yet.
_AWAITED_GATHER_S = 0.001
# Gathering looks this often for a request that has begun to wait.
_SLICE_S = 0.002
_HIGH_LOAD_SLICE_S = 0.01
_RETRY_S = 1.0
# How often webhook deliveries older than the retention are deleted, a part at a time.
_FORGET_S = 1.0
# How often the file's origin is compared with the cluster, once the ends were reached.
_ORIGIN_CHECK_S = 600.0
_MAX_LOGGED_SKIPS = 5

OnChange = Callable[[set[str]], None]


class Feed:
    """Feeds the file from the topics on a thread of its own; `start` once, then `stop`."""

    def __init__(
        self,
        settings: ApiSettings,
        writer: ReadModelWriter,
        admin: AdminClient,
        readers: TransactionWaiters,
        on_change: OnChange,
    ) -> None:
        """`on_change` is called on the feed's thread after each transaction, with the ids of the
        jobs in it; while `readers` wait, transactions are made sooner."""
        self._settings = settings
        self._writer = writer
        self._admin = admin
        self._readers = readers
        self._on_change = on_change
        self._collector = ChangeCollector(settings.topic_prefix)
        self.partitions = ReadPartitions(admin, self._collector.topics)
        """All partitions that are read."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-model-feed", daemon=True)
        self._load = LoadMeter()
        self._last_batch_s = 0.0
        self._damaged = False
        # Other threads read both without a lock: they are replaced, never changed.
        self.read_offsets: dict[TopicPartition, int] = {}
        """The offset to read next of each partition."""
        self.visible_offsets: dict[TopicPartition, int] = {}
        """The same once the file is complete; empty before, since lists and counts lack rows."""
        self.skipped = 0
        """Messages that could not be used."""

    @property
    def alive(self) -> bool:
        """True while the thread runs; once it does not, only a restart of the process helps."""
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
                self._damaged = schema.is_damage(error)
                log.warning("Reading the topics begins again in %s s: %s", _RETRY_S, error)
                self._stopping.wait(_RETRY_S)

    def _read(self) -> None:
        """Read until `stop`, or until the topics are others.

        Raises:
            KafkaException, sqlite3.Error: reading must begin again from the file's offsets.
        """
        if self._damaged:
            log.warning("The read model's file is damaged and is rebuilt from the topics")
            self.read_offsets, self.visible_offsets = {}, {}
            self._writer.replace()
            self._damaged = False
        self._settle_origin()
        self.partitions.refresh()
        if not self._writer.is_complete and not self._rebuild():
            return
        self.read_offsets = self.visible_offsets = self._writer.offsets()
        # Some may wait for these offsets, and the next message may be long in coming.
        self._on_change(set())
        with closing(TopicReader(self._settings)) as reader:
            reader.assign(self._collector.topics, self.visible_offsets)
            check_at_s = forget_at_s = time.monotonic()
            while not self._stopping.is_set():
                self._step(reader)
                if time.monotonic() >= forget_at_s:
                    self._writer.forget_deliveries(self._cutoff().oldest)
                    forget_at_s = time.monotonic() + _FORGET_S
                if not reader.unread and time.monotonic() >= check_at_s:
                    if self._is_outdated():
                        return
                    check_at_s = time.monotonic() + _ORIGIN_CHECK_S

    def _settle_origin(self) -> None:
        """Empty the file if it does not fit the topics, and note what it is filled from."""
        present, known = self._present_origin(), self._writer.origin()
        reason = known and known.outdated_reason(present)
        if reason:
            log.warning("The read model is rebuilt from the topics: %s", reason)
            self.read_offsets, self.visible_offsets = {}, {}
            self._writer.reset()
        if reason or known is None:
            self._writer.write_origin(present)
        else:
            # Its rows are as old as they were.
            self._writer.write_origin(replace(present, current_at_s=known.current_at_s))

    def _is_outdated(self) -> bool:
        """Compare the origin again; if it fits, note that the file is as new as the topics now."""
        try:
            present = self._present_origin()
        except KafkaException as error:
            log.info("The topics cannot be compared with the read model now: %s", error)
            return False
        known = self._writer.origin()
        if known is not None and known.outdated_reason(replace(present, current_at_s=0.0)):
            return True
        self._writer.write_origin(present)
        return False

    def _present_origin(self) -> Origin:
        return present_origin(self._admin, self._collector.topics, time.time())

    def _rebuild(self) -> bool:
        """Fill the file and complete it; False when stopped before."""
        # Offsets are written with the last rows. If they are there, only completing it failed.
        if not self._writer.offsets():
            rebuild = Rebuild(
                self._settings, self._collector, self._writer, self._on_read, self._on_change
            )
            rebuild.run(self._stopping, self._cutoff())
        if self._stopping.is_set():
            return False
        self._writer.complete()
        return True

    def _on_read(self, so_far: Changes) -> None:
        self.read_offsets = dict(so_far.next_offsets)
        self._log_skipped(so_far.skipped)

    def _step(self, reader: TopicReader) -> None:
        """Write what comes within the poll and gather windows, in one transaction."""
        first = reader.wait(_POLL_TIMEOUT_S)
        if first is None:
            return
        changes = self._collector.collect([*first, *self._gather(reader)], self._cutoff())
        ends = reader.take_ends().items()
        changes.advance({where: end for where, end in ends if self.read_offsets.get(where) != end})
        if changes.next_offsets:
            self._apply(changes)
            self._last_batch_s = time.monotonic()

    def _gather(self, reader: TopicReader) -> list[Message]:
        """Read the messages that arrive within the gather window."""
        first_timeout_s = _AWAITED_GATHER_S if self._readers.count else 0
        messages = reader.read(_MAX_BATCH_MESSAGES, first_timeout_s)
        now_s = time.monotonic()
        if self._load.count(len(messages)):
            gather_s, slice_s = _HIGH_LOAD_GATHER_S, _HIGH_LOAD_SLICE_S
        else:
            gather_s, slice_s = _GATHER_S, _SLICE_S
        end_s = now_s + gather_s if now_s - self._last_batch_s < gather_s else now_s
        while (
            not self._readers.count
            and len(messages) < _MAX_BATCH_MESSAGES
            and time.monotonic() < end_s
        ):
            more = reader.read(_MAX_BATCH_MESSAGES - len(messages), slice_s)
            self._load.count(len(more))
            messages += more
        return messages

    def _apply(self, changes: Changes) -> None:
        self._writer.apply(changes)
        self.read_offsets = self.visible_offsets = self.visible_offsets | changes.next_offsets
        self._log_skipped(changes.skipped)
        self._on_change(changes.job_ids())

    def _log_skipped(self, skipped: list[str]) -> None:
        self.skipped += len(skipped)
        for text in skipped[:_MAX_LOGGED_SKIPS]:
            log.warning("A message was skipped: %s", text)

    def _cutoff(self) -> RetentionCutoff:
        return RetentionCutoff.current(self._settings.retention_days)
