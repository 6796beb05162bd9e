"""Fills a new read side from the topics' beginnings, as fast as one process can.

Two readers, one of submissions and one of states, take turns so that a job's two messages come
close together and it is written once, as one row. A second thread writes: SQLite does not need the
interpreter meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from imagemill.settings import ApiSettings
from producer_api.read_model.changes import ChangeCollector, Changes, RetentionCutoff
from producer_api.read_model.pairs import Pairs
from producer_api.read_model.topic_reader import TopicReader
from producer_api.read_model.writer import ProjectionStore

# Messages at a time: of more, the first are out of the processor's cache when the last are read.
_STEP = 1000
_GATHER_S = 0.005
# After so many it is written whatever there is: not all messages are of jobs.
_UNWRITTEN = 50_000

OnStep = Callable[[Changes], None]
OnWritten = Callable[[set[str]], None]


class Rebuild:
    """One filling of an empty file; `run` once."""

    def __init__(
        self,
        settings: ApiSettings,
        fold: ChangeCollector,
        store: ProjectionStore,
        on_step: OnStep,
        on_written: OnWritten,
    ) -> None:
        """`on_step` is told what was read; `on_written`, on another thread, which jobs are in the
        file now."""
        self._settings = settings
        self._fold = fold
        self._store = store
        self._on_step = on_step
        self._on_written = on_written
        self._pairs = Pairs()
        self._unwritten = 0

    def run(self, stopping: threading.Event, horizon: RetentionCutoff) -> None:
        """Read until all topics were at their ends, or until told to stop.

        Only in the first case there are offsets in the file then.

        Raises:
            KafkaException: the broker cannot be read from.
            sqlite3.Error: the file cannot be written.
        """
        with (
            closing(TopicReader(self._settings)) as submissions,
            closing(TopicReader(self._settings)) as states,
            ThreadPoolExecutor(1, "projection-writer") as writer,
        ):
            submissions.assign(self._fold.submissions, {})
            states.assign(self._fold.states, {})
            writing: Future[None] | None = None
            while (submissions.unread or states.unread) and not stopping.is_set():
                self._step(self._behind(submissions, states), horizon)
                if self._pairs.full or self._unwritten >= _UNWRITTEN:
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(self._write, self._pairs.take())
                    self._unwritten = 0
            if writing is not None:
                writing.result()
        if not stopping.is_set():
            last = self._pairs.take_all()
            # With the last rows only: until then, what was read is not all in the file.
            last.next = self._pairs.next
            self._write(last)

    def _behind(self, submissions: TopicReader, states: TopicReader) -> TopicReader:
        if not (submissions.unread and states.unread):
            return submissions if submissions.unread else states
        return states if self._pairs.more_submissions else submissions

    def _step(self, reader: TopicReader, horizon: RetentionCutoff) -> None:
        messages = reader.read(_STEP, _GATHER_S)
        self._fold.fold(messages, horizon, self._pairs)
        self._unwritten += len(messages)
        self._pairs.move_to(reader.take_ends())
        self._on_step(self._pairs)
        self._pairs.skipped.clear()

    def _write(self, changes: Changes) -> None:
        self._store.apply(changes)
        self._on_written(changes.job_ids())
