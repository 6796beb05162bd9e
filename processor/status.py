"""The worker's report on itself: on its health port, and as a heartbeat every two seconds."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from imagemill import __version__
from imagemill.process.health import serve_health
from imagemill.settings import ProcessorSettings
from processor.faust_access import ConsumerAccess
from processor.messages.publisher import Publisher
from processor.models.loader import ModelLoader
from processor.models.manifest import ManifestError
from processor.queues.priority_queue import PriorityQueue
from processor.run.item_runner import ItemRunner
from processor.run.pool import InferencePool
from schemas.times import now
from schemas.workers import Heartbeat, KnownModel

log = logging.getLogger(__name__)

_HEARTBEAT_S = 2.0
# Heartbeats between two readings of the manifest: it takes milliseconds, and seldom changes.
_BEATS_PER_MODEL_LIST = 15


class WorkerStatus:
    """State of a worker, from its parts."""

    def __init__(
        self,
        settings: ProcessorSettings,
        consumer: ConsumerAccess,
        pool: InferencePool,
        queue: PriorityQueue,
        runner: ItemRunner,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._pool = pool
        self._queue = queue
        self._runner = runner

    @property
    def ready(self) -> bool:
        """True while jobs are served: processes are warm, partitions assigned, tables complete."""
        return self._pool.ready and self._consumer.recovered and not self._consumer.rebalancing

    def report(self) -> dict[str, Any]:
        """Fields that health port and heartbeat have in common."""
        return {
            "ready": self.ready,
            "worker_id": self._settings.worker_id,
            "slots": self._pool.slots,
            "busy": self._runner.busy,
            "waiting": len(self._queue),
            "version": __version__,
        }

    async def answer_health(self) -> None:
        """Serve the health port for ever."""
        settings = self._settings
        server = await serve_health(settings.host, settings.worker_port, self.report)
        try:
            await asyncio.Event().wait()
        finally:
            await server.cleanup()


class Heartbeats:
    """Publishes the worker's report and its models."""

    def __init__(
        self, settings: ProcessorSettings, status: WorkerStatus, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._status = status
        self._publisher = publisher

    async def run(self) -> None:
        """Publish a heartbeat every two seconds, for ever."""
        for number in itertools.count():
            if number % _BEATS_PER_MODEL_LIST == 0:
                models = await asyncio.to_thread(self._known_models)
            beat = Heartbeat(
                **self._status.report(),
                at=now(),
                host=socket.gethostname(),
                pid=os.getpid(),
                models=models,
            )
            value = beat.model_dump_json().encode()
            try:
                await self._publisher.heartbeat(self._settings.worker_id, value)
            except (KafkaError, ProducerSendError) as error:
                log.warning("a heartbeat was not sent, the next one follows: %s", error)
            await asyncio.sleep(_HEARTBEAT_S)

    def _known_models(self) -> tuple[KnownModel, ...]:
        try:
            return ModelLoader.from_settings(self._settings).known()
        except ManifestError as error:
            log.warning("heartbeats go without the models: %s", error)
            return ()
