"""One worker: builds the parts, gives each its collaborators, and starts them with Faust's app.

The way of a message, by file: agents.py, messages/admission.py, queues/priority_queue.py,
run/item_runner.py, messages/publisher.py; then, as a fact, agents.py and state/tracker.py.
"""

from __future__ import annotations

import asyncio
import logging

from imagemill.process.gc import freeze_gc
from imagemill.settings import ProcessorSettings
from processor.agents import Agents
from processor.faust_access import ConsumerAccess, ProducerAccess
from processor.faust_app import ProcessorApp, client_options, state_table
from processor.handover import Handover
from processor.messages.admission import Admission
from processor.messages.control import ControlTopic
from processor.messages.publisher import Publisher
from processor.messages.topic_names import TopicNames
from processor.queues.cancelled_jobs import CancelledJobs
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from processor.run.item_runner import ItemRunner, RunPolicy
from processor.run.pool import InferencePool
from processor.run.retry import RetryPolicy
from processor.scout.log_reader import LogReader, reader_config
from processor.scout.scout import Scout
from processor.state.job_table import JobTables
from processor.state.tracker import Tracker
from processor.status import Heartbeats, WorkerStatus

log = logging.getLogger(__name__)

# Retries that wait in memory, for each partition of `jobs.retry`; a retry is a few kilobytes.
_MAX_RETRIES_PER_PARTITION = 1000
_PERSIST_OFFSETS_S = 1.0
# Seconds between two log lines with the admission's counts.
_REPORT_S = 60


class Processor(ProcessorApp):
    """The Faust app of a worker, with all of the worker's parts."""

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__(settings)
        consumer = ConsumerAccess(self, client_options(settings))
        topics = TopicNames.of(settings)
        source = f"/imagemill/processor/{settings.worker_id}"

        self.admission = Admission(consumer, settings.revoke_grace_s)
        publisher = Publisher(ProducerAccess(self), self.admission, topics, source, self.crash)

        self.cancelled = CancelledJobs()
        self.pool = InferencePool(settings)
        queue = PriorityQueue(settings.prefetch_per_partition, consumer)
        self.retries = RetryQueue(publisher, consumer, _MAX_RETRIES_PER_PARTITION)
        self.runner = ItemRunner(queue, publisher, self.pool, self.cancelled, _policy(settings))

        self.scout = Scout(
            LogReader(reader_config(settings)),
            self.admission,
            consumer,
            queue,
            {topic: priority for priority, topic in topics.priorities.items()},
            settings.ahead_limit,
        )

        self.job_tables = JobTables(state_table(self, settings), publisher)
        tracker = Tracker(self.job_tables, publisher, settings.progress_interval_s)

        self.revoke_listener = Handover(
            self.admission, queue, self.retries, tracker, self.job_tables
        )
        self.status = WorkerStatus(settings, consumer, self.pool, queue, self.runner)
        self.heartbeats = Heartbeats(settings, self.status, publisher)
        self._cancel_topic = topics.control
        control = ControlTopic(publisher)
        Agents(self.admission, queue, self.retries, control, tracker).register(self)
        self._register_tasks()

    def _register_tasks(self) -> None:
        self.task(self._run_items)
        self.task(self._keep_house)
        self.task(self.retries.run)
        if self.settings.ahead_limit:
            self.task(self.scout.run)
        self.task(self._listen_for_cancels)
        self.task(self.heartbeats.run)
        self.task(self.status.answer_health)

    async def _run_items(self) -> None:
        try:
            await self.pool.start()
            freeze_gc()
            await asyncio.gather(*(self.runner.run_slot() for _ in range(self.pool.slots)))
        finally:
            await self.pool.stop()

    async def _listen_for_cancels(self) -> None:
        await self.cancelled.listen(self._cancel_topic, client_options(self.settings))

    async def _keep_house(self) -> None:
        watch = asyncio.ensure_future(self.admission.watch())
        ticks = 0
        while not watch.done():
            await asyncio.sleep(_PERSIST_OFFSETS_S)
            self.job_tables.persist_offsets()
            ticks += 1
            if ticks % _REPORT_S == 0 and self.admission.counts:
                log.info("admission: %s", dict(self.admission.counts))
        watch.result()


def _policy(settings: ProcessorSettings) -> RunPolicy:
    retry = RetryPolicy(settings.max_attempts, settings.retry_base_s, settings.retry_max_s)
    return RunPolicy(settings.worker_id, retry, settings.started_after_s)
