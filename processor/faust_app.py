"""The Faust app: its settings with their reasons, the table, and the agents."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP
from yarl import URL

from imagemill.settings import ProcessorSettings
from processor.faust_fixes.consumer import HardenedConsumer, HardenedTransport, RevokeListener
from processor.faust_fixes.schema import RawSchema
from processor.faust_fixes.thread import HardenedConsumerThread
from schemas.topics import JOBS_STATE, MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

# One RocksDB a partition; Faust's defaults are 192 MB of write buffers and a 2 GB cache for each.
_ROCKSDB = {
    "driver": "rocksdict",
    "write_buffer_size": 8 << 20,
    "max_write_buffer_number": 2,
    "block_cache_size": 16 << 20,
    "target_file_size_base": 16 << 20,
    "max_open_files": 64,
}
_MAX_POLL_RECORDS = 50
# What a look into the log may take, where nothing is found.
_LOOK_MS = 2000


def _ssl_context(settings: ProcessorSettings) -> ssl.SSLContext | None:
    if "SSL" not in settings.kafka_security_protocol.split("_"):
        return None
    context = ssl.create_default_context(
        cafile=str(settings.kafka_ssl_ca_location) if settings.kafka_ssl_ca_location else None
    )
    if settings.kafka_ssl_certificate_location:
        password = settings.kafka_ssl_key_password
        context.load_cert_chain(
            settings.kafka_ssl_certificate_location,
            settings.kafka_ssl_key_location,
            password.get_secret_value() if password else None,
        )
    return context


def credentials(settings: ProcessorSettings) -> Any:
    """Faust's credentials for the cluster, None without security."""
    context = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username or "",
            password=password.get_secret_value() if password else "",
            ssl_context=context,
            mechanism=settings.kafka_sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context else None


def client_options(settings: ProcessorSettings) -> dict[str, Any]:
    """The same for a plain aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": _ssl_context(settings),
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username or "",
            "sasl_plain_password": password.get_secret_value() if password else "",
        }
    return options


class ProcessorApp(faust.App):
    """A Faust app that finishes what runs before its consumer stops."""

    settings: ProcessorSettings
    revoke_listener: RevokeListener | None = None

    async def _stop_consumer(self) -> None:
        """Let running items end, so that they are acked and committed, not done again."""
        if self.revoke_listener is not None:
            await self.revoke_listener.revoke()
        await super()._stop_consumer()


def make_app(settings: ProcessorSettings) -> ProcessorApp:
    """The Faust app of this worker; agents and table are added by the caller."""
    brokers = [URL(f"kafka://{s.strip()}") for s in settings.kafka_bootstrap_servers.split(",")]
    partitions = settings.topic_partitions
    settings.table_dir.mkdir(parents=True, exist_ok=True)
    app = ProcessorApp(
        settings.group("processor"),
        broker=brokers,
        broker_credentials=credentials(settings),
        datadir=settings.table_dir,
        store="rocksdb://",
        topic_partitions=partitions,
        topic_replication_factor=settings.topic_replication_factor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        value_serializer="raw",
        web_enabled=False,
        # Unique: the assignor keys members by URL.
        canonical_url=f"http://{settings.worker_id}.invalid:{settings.worker_port}",
        web_port=settings.worker_port,
        # Static membership: a restart within the session gets its partitions back, no rebalance.
        consumer_group_instance_id=settings.worker_id,
        # A worker that is gone for ever stalls its partitions this long.
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        # Above the grace that running items get in a revoke.
        broker_rebalance_timeout=60.0,
        broker_request_timeout=30.0,
        # What a kill -9 repeats is this much work.
        broker_commit_interval=0.5,
        # How far one fetch overshoots a lane that is full.
        broker_max_poll_records=_MAX_POLL_RECORDS,
        # For each topic, in portions of up to that many messages. At 80 % of it Faust stops reading
        # what comes; one portion of every partition must fit above, or all topics wait. Lanes bound
        # those of the priorities; this alone what waits for a broker slow to take facts' sends.
        stream_buffer_maxsize=10 * partitions,
        stream_wait_empty=False,  # Admission.revoke waits, with a limit
        # Faust keeps one by default, at twice the work, and applies records of partitions it does
        # not know to whichever table it saw last.
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        processing_guarantee="at_least_once",
        producer_acks=-1,
        producer_linger=settings.producer_linger_ms / 1000,
        producer_max_request_size=MAX_MESSAGE_BYTES,
        Table="processor.faust_fixes.table:HardenedTable",
        TableManager="processor.faust_fixes.recovery:HardenedTableManager",
        Monitor="processor.faust_fixes.table:QuietMonitor",
    )
    app.settings = settings
    app.transport = HardenedTransport(brokers, app)
    HardenedConsumerThread.leave_on_stop = settings.leave_on_stop
    return app


def raw_topic(app: faust.App, settings: ProcessorSettings, name: str) -> Any:
    """A topic of encoded messages."""
    return app.topic(
        settings.topic(name),
        schema=RawSchema(key_type=bytes, value_type=bytes),
        partitions=settings.topic_partitions,
    )


def state_table(app: faust.App, settings: ProcessorSettings) -> Any:
    """The table of job states; its changelog is the public topic `jobs.state`."""
    return app.Table(
        "jobs_state",
        default=None,
        partitions=settings.topic_partitions,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=raw_topic(app, settings, JOBS_STATE.name),
        options=dict(_ROCKSDB),
    )


class ConsumerAccess:
    """The app's consumer as admission and gate use it: looked up when needed, made late."""

    def __init__(self, app: ProcessorApp) -> None:
        self._app = app

    @property
    def _consumer(self) -> HardenedConsumer:
        return self._app.consumer

    def ack(self, message: Any) -> bool:
        """As HardenedConsumer.ack."""
        return self._consumer.ack(message)

    def seek_back(self, tp: TP, offset: int) -> None:
        """As HardenedConsumer.seek_back."""
        self._consumer.seek_back(tp, offset)

    async def first_at(self, tp: TP, offset: int) -> int:
        """The first offset at or after `offset` that the log has, as a client of its own sees it.

        Raises:
            KafkaError, OSError: the broker cannot be asked.
        """
        part = TopicPartition(tp.topic, tp.partition)
        reader = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            **client_options(self._app.settings),
        )
        await reader.start()
        try:
            reader.assign([part])
            reader.seek(part, offset)
            found = await reader.getmany(part, timeout_ms=_LOOK_MS, max_records=1)
            if found:
                return found[part][0].offset
            # Nothing from there on: all removed, or only markers, which move the position.
            beginnings = await reader.beginning_offsets([part])
            return max(beginnings[part], await reader.position(part))
        finally:
            await reader.stop()

    def pass_over(self, tp: TP, offset: int) -> None:
        """As HardenedConsumer.pass_over."""
        self._consumer.pass_over(tp, offset)

    def highwater(self, tp: TP) -> int:
        """The end of the partition's log as last heard; 0 when not heard yet."""
        return self._consumer.highwater(tp) or 0

    def is_paused(self, tp: TP) -> bool:
        """As HardenedConsumer.is_paused."""
        return self._consumer.is_paused(tp)

    def pause(self, tp: TP) -> None:
        """Fetch nothing more of the partition."""
        self._consumer.on_buffer_full(tp)

    def resume(self, tp: TP) -> None:
        """Fetch from the partition again."""
        self._consumer.on_buffer_drop(tp)
