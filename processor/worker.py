"""The processor put together: agents feed the gate, slots serve it, the tracker keeps the state."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from faust.types import TP

from imagemill import __version__
from imagemill.process.gc import freeze_gc
from imagemill.process.health import serve_health
from imagemill.settings import ProcessorSettings
from processor.faust_app import ConsumerAccess, client_options, make_app, raw_topic, state_table
from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.dead_letter import dead_letter
from processor.messages.publisher import Publisher, Topics
from processor.models.loader import ModelLoader
from processor.models.manifest import ManifestError
from processor.queues.cancelled_jobs import CancelledJobs
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from processor.run.inline import InlineOperations
from processor.run.item_runner import ItemRunner
from processor.run.pool import InferencePool
from processor.run.retry import RetryPolicy
from processor.state.job_table import JobTable
from processor.state.tracker import Tracker
from schemas import cloudevents, topics
from schemas.events import Fact, JobClaimed
from schemas.jobs import Priority
from schemas.times import now
from schemas.workers import Heartbeat, KnownModel

log = logging.getLogger(__name__)

_RETRIES_PER_PARTITION = 1000
_HEARTBEAT_S = 2.0
# Reading the manifest takes milliseconds, and it seldom changes.
_BEATS_PER_MODEL_LIST = 15
_REPORT_S = 60.0


def _topic_names(settings: ProcessorSettings) -> Topics:
    return Topics(
        events=settings.topic(topics.JOBS_EVENTS.name),
        retry=settings.topic(topics.JOBS_RETRY.name),
        dead_letter=settings.topic(topics.JOBS_DEAD_LETTER.name),
        changelog=settings.topic(topics.JOBS_STATE.name),
        results=settings.topic(topics.JOBS_RESULTS.name),
    )


class Processor:
    """One worker: a Faust app and everything that hangs on it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self.settings = settings
        self.source = f"/imagemill/processor/{settings.worker_id}"
        self.app = make_app(settings)
        self.pool = InferencePool(settings)
        self.table = state_table(self.app, settings)
        access = ConsumerAccess(self.app)
        self.admission = Admission(
            reader=lambda: access,
            generation=lambda: self.app.consumer_generation_id,
            grace_s=settings.revoke_grace_s,
            quiet=lambda: self.app.rebalancing or self.app.in_recovery,
        )
        self.app.revoke_listener = self.admission
        names = _topic_names(settings)
        self.publisher = Publisher(lambda: self.app.producer, self.admission, self.app.crash)
        self.publisher.changelog = names.changelog
        self.cancelled = CancelledJobs()
        self.gate = PriorityQueue(settings.lane_size, access.pause, access.resume)
        self.delays = self._make_delays(access, names)
        self.inference = ItemRunner(
            gate=self.gate,
            admission=self.admission,
            publisher=self.publisher,
            pool=self.pool,
            inline=InlineOperations(),
            topics=names,
            retry=RetryPolicy(settings.max_attempts, settings.retry_base_s, settings.retry_max_s),
            cancelled=self.cancelled,
            started_after_s=settings.started_after_s,
            worker_id=settings.worker_id,
            source=self.source,
            crash=self.app.crash,
        )
        self.tracker = Tracker(
            table=lambda partition: JobTable(self.table, partition),
            admission=self.admission,
            publisher=self.publisher,
            topics=names,
            interval_s=settings.progress_interval_s,
            source=self.source,
            crash=self.app.crash,
        )
        self.admission.before_revoke += [
            self.gate.clear,
            self.delays.clear,
            self.tracker.flush_all,
        ]
        self.admission.after_revoke.append(self.persist_offsets)
        self._add_agents()
        self._add_tasks()

    def _make_delays(self, access: ConsumerAccess, names: Topics) -> RetryQueue:
        return RetryQueue(
            publisher=self.publisher,
            priority_topics={
                p: self.settings.topic(topic.name) for p, topic in topics.PRIORITY_TOPICS.items()
            },
            topics=names,
            source=self.source,
            limit=_RETRIES_PER_PARTITION,
            on_full=access.pause,
            on_drop=access.resume,
        )

    def _add_agents(self) -> None:
        def queue(priority: Priority) -> Callable[[AdmittedMessage], Any]:
            async def put(entry: AdmittedMessage) -> None:
                self.gate.put(priority, entry)

            return put

        for priority, topic in topics.PRIORITY_TOPICS.items():
            self._add_agent(topic, f"infer_{priority}", queue(priority))
        self._add_agent(topics.JOBS_RETRY, "retry", self.delays.put)
        self._add_agent(topics.JOBS_CONTROL, "control", self._forward_cancel)
        self._add_agent(topics.JOBS_EVENTS, "track", self.tracker.track)

    def _add_agent(
        self, topic: topics.Topic, name: str, handle: Callable[[AdmittedMessage], Any]
    ) -> None:
        """An agent that acks nothing by itself: Faust acks a message whose agent raised."""

        async def consume(stream: Any) -> None:
            async for portion in stream.noack():
                for message in portion:
                    entry = self.admission.admit(message)
                    if entry is not None:
                        await handle(entry)

        self.app.agent(raw_topic(self.app, self.settings, topic.name), name=name)(consume)

    async def _forward_cancel(self, entry: AdmittedMessage) -> None:
        """A cancel request becomes a fact of its job: the track agent judges it in order."""
        message = entry.message
        try:
            event = cloudevents.decode(message.headers, message.value)
            if isinstance(event, JobClaimed):
                # Of no concern here: the APIs agree by it which of them publishes the job.
                self.admission.done(entry)
                return
            if not isinstance(event, Fact):
                raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
        except cloudevents.DecodeError as error:
            topic = self.settings.topic(topics.JOBS_DEAD_LETTER.name)
            await self.publisher.finish(
                entry, dead_letter(self.publisher, topic, entry, str(error))
            )
            return
        key, encoded = (
            event.job_id.encode(),
            cloudevents.Encoded(message.value, list(message.headers)),
        )
        # Others may send requests too, with another key.
        partition = entry.tp.partition if key == message.key else None
        events = self.settings.topic(topics.JOBS_EVENTS.name)
        await self.publisher.finish(entry, self.publisher.send(events, key, encoded, partition))

    def _add_tasks(self) -> None:
        self.app.task(self._serve)
        self.app.task(self._keep_house)
        self.app.task(self.delays.run)
        self.app.task(self._listen_for_cancels)
        self.app.task(self._beat)
        self.app.task(self._answer_health)

    async def _serve(self) -> None:
        try:
            await self.pool.start()
            freeze_gc()
            await asyncio.gather(*(self.inference.run_slot() for _ in range(self.pool.slots)))
        finally:
            await self.pool.stop()

    async def _listen_for_cancels(self) -> None:
        control = self.settings.topic(topics.JOBS_CONTROL.name)
        await self.cancelled.listen(control, client_options(self.settings))

    def persist_offsets(self) -> None:
        """Note in RocksDB up to where the changelog holds what it holds.

        Without it, recovery after a kill reads the changelog from where the last recovery ended.
        """
        pending, self.publisher.changelog_offsets = self.publisher.changelog_offsets, {}
        for partition, offset in pending.items():
            if partition in self.table.data._dbs:
                self.table.data.set_persisted_offset(
                    TP(self.publisher.changelog, partition), offset
                )

    async def _keep_house(self) -> None:
        watch = asyncio.ensure_future(self.admission.watch())
        ticks = 0
        while not watch.done():
            await asyncio.sleep(1.0)
            self.persist_offsets()
            ticks += 1
            if ticks % _REPORT_S == 0 and self.admission.counts:
                log.info("admission: %s", dict(self.admission.counts))
        watch.result()

    @property
    def ready(self) -> bool:
        """Whether jobs are served: processes are warm and partitions assigned."""
        assigned = self.app.tables.recovery.completed.is_set()
        moving = self.app.rebalancing or self.app.in_recovery
        return self.pool.ready and assigned and not moving

    def report(self) -> dict[str, Any]:
        """What the health port and the heartbeat tell."""
        return {
            "ready": self.ready,
            "worker_id": self.settings.worker_id,
            "slots": self.pool.slots,
            "busy": self.inference.busy,
            "waiting": len(self.gate),
            "version": __version__,
        }

    async def _answer_health(self) -> None:
        settings = self.settings
        runner = await serve_health(settings.host, settings.worker_port, self.report)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def _known_models(self) -> tuple[KnownModel, ...]:
        try:
            return ModelLoader.from_settings(self.settings).known()
        except ManifestError as error:
            log.warning("the models are not told: %s", error)
            return ()

    async def _beat(self) -> None:
        topic = self.settings.topic(topics.WORKERS_HEARTBEATS.name)
        key = self.settings.worker_id.encode()
        for number in itertools.count():
            if number % _BEATS_PER_MODEL_LIST == 0:
                models = await asyncio.to_thread(self._known_models)
            beat = Heartbeat(
                **self.report(),
                at=now(),
                host=socket.gethostname(),
                pid=os.getpid(),
                models=models,
            )
            value = beat.model_dump_json().encode()
            try:
                await self.app.producer.send(topic, key, value, None, None, None)
            except (KafkaError, ProducerSendError) as error:
                log.warning("a heartbeat was not sent, the next one follows: %s", error)
            await asyncio.sleep(_HEARTBEAT_S)
