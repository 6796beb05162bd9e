"""Fills an empty file from the topics' beginnings, as fast as one process can.

One thread reads and decodes while a second one writes the batch before: SQLite does not need the
interpreter meanwhile. Batches are large, since the messages of one job that fall into one batch
are written as one row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from imagemill.settings import ApiSettings
from producer_api.read_model.changes import ChangeCollector, Changes, RetentionCutoff
from producer_api.read_model.topic_reader import TopicReader
from producer_api.read_model.writer import ReadModelWriter

# Messages decoded at a time: of more, the first leave the processor's cache before they are used.
_READ_MESSAGES = 1000
_READ_TIMEOUT_S = 0.005
# Limits of a batch. Another one is in memory at the same time, being written.
_BATCH_JOBS = 32_768
_BATCH_MESSAGES = 100_000
_BATCH_BYTES = 64 * 1024 * 1024

OnRead = Callable[[Changes], None]
OnWritten = Callable[[set[str]], None]


class Rebuild:
    """One filling of an empty file; `run` once."""

    def __init__(
        self,
        settings: ApiSettings,
        collector: ChangeCollector,
        writer: ReadModelWriter,
        on_read: OnRead,
        on_written: OnWritten,
    ) -> None:
        """`on_read` is called with what was collected so far; `on_written`, on the writing thread,
        with the jobs that are in the file now."""
        self._settings = settings
        self._collector = collector
        self._writer = writer
        self._on_read = on_read
        self._on_written = on_written

    def run(self, stopping: threading.Event, cutoff: RetentionCutoff) -> None:
        """Read until all topics were at their ends, or until `stopping` is set.

        The offsets are written with the last rows: a file that has them has all rows before them.

        Raises:
            KafkaException: the broker cannot be read from.
            sqlite3.Error: the file cannot be written.
        """
        changes = Changes()
        with (
            closing(TopicReader(self._settings)) as reader,
            ThreadPoolExecutor(1, "read-model-writer") as thread,
        ):
            reader.assign(self._collector.topics, {})
            writing: Future[None] | None = None
            while reader.unread and not stopping.is_set():
                self._read(reader, changes, cutoff)
                if _is_full(changes):
                    if writing is not None:
                        writing.result()
                    following = Changes(next_offsets=changes.next_offsets)
                    changes.next_offsets = {}
                    writing = thread.submit(self._write, changes)
                    changes = following
            if writing is not None:
                writing.result()
        if not stopping.is_set():
            self._write(changes)

    def _read(self, reader: TopicReader, changes: Changes, cutoff: RetentionCutoff) -> None:
        messages = reader.read(_READ_MESSAGES, _READ_TIMEOUT_S)
        self._collector.collect(messages, cutoff, changes)
        changes.advance(reader.take_ends())
        self._on_read(changes)
        changes.skipped.clear()

    def _write(self, changes: Changes) -> None:
        self._writer.apply(changes)
        self._on_written(changes.job_ids())


def _is_full(changes: Changes) -> bool:
    return (
        len(changes.jobs) >= _BATCH_JOBS
        or changes.messages >= _BATCH_MESSAGES
        or changes.size_bytes >= _BATCH_BYTES
    )
