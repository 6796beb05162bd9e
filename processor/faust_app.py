"""The Faust app: its options with their reasons, its topics and its table."""

from __future__ import annotations

from typing import Any

import faust
from yarl import URL

from imagemill.kafka.security import (
    aiokafka_security,
    ssl_context,
    token_provider,
    user_and_password,
)
from imagemill.settings import ProcessorSettings
from processor.faust_fixes.consumer import Offsets, RevokeListener
from processor.faust_fixes.speed import RawSchema
from processor.faust_fixes.transport import HardenedTransport
from schemas.topics import JOBS_STATE, MAX_MESSAGE_BYTES

# For the RocksDB of each partition. Faust's defaults are 192 MB of write buffers and a 2 GB cache.
_ROCKSDB = {
    "driver": "rocksdict",
    "write_buffer_size": 8 << 20,
    "max_write_buffer_number": 2,
    "block_cache_size": 16 << 20,
    "target_file_size_base": 16 << 20,
    "max_open_files": 64,
}
_MAX_POLL_RECORDS = 50


def credentials(settings: ProcessorSettings) -> Any:
    """Make Faust's credentials for the cluster; None without security.

    Raises:
        SettingsInvalid: the settings of the SASL mechanism do not work.
    """
    context = ssl_context(settings)
    if not settings.kafka_uses_sasl:
        return faust.SSLCredentials(context) if context else None
    provider = token_provider(settings)
    if provider is not None:
        return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    username, password = user_and_password(settings)
    return faust.SASLCredentials(
        username=username,
        password=password,
        ssl_context=context,
        mechanism=settings.kafka_sasl_mechanism,
    )


def client_options(settings: ProcessorSettings) -> dict[str, Any]:
    """Make the options of a plain aiokafka client, with the same credentials."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": settings.kafka_client_id,
        **aiokafka_security(settings),
    }


class ProcessorApp(faust.App):
    """A Faust app that finishes what runs before its consumer stops.

    Its subclass gives it the parts that the consumer asks, and agents and tasks.
    """

    admission: Offsets
    revoke_listener: RevokeListener

    def __init__(self, settings: ProcessorSettings) -> None:
        settings.table_dir.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        super().__init__(settings.group("processor"), **_options(settings))

    def _new_transport(self) -> HardenedTransport:
        return HardenedTransport(
            _brokers(self.settings), self, leave_on_stop=self.settings.leave_on_stop
        )

    async def _stop_consumer(self) -> None:
        """Let running items end, so that they are acked and committed, and not run again."""
        await self.revoke_listener.revoke()
        await super()._stop_consumer()


def _brokers(settings: ProcessorSettings) -> list[URL]:
    return [URL(f"kafka://{s.strip()}") for s in settings.kafka_bootstrap_servers.split(",")]


def _options(settings: ProcessorSettings) -> dict[str, Any]:
    """Options of the Faust app, each with its reason."""
    partitions = settings.topic_partitions
    return {
        "broker": _brokers(settings),
        "broker_credentials": credentials(settings),
        "broker_client_id": settings.kafka_client_id,
        "datadir": settings.table_dir,
        "store": "rocksdb://",
        "topic_partitions": partitions,
        "topic_replication_factor": settings.topic_replication_factor,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "value_serializer": "raw",
        "web_enabled": False,
        # Unique: the assignor keys members by URL.
        "canonical_url": f"http://{settings.worker_id}.invalid:{settings.worker_port}",
        "web_port": settings.worker_port,
        # Static membership: a restart within the session gets its partitions back, no rebalance.
        "consumer_group_instance_id": settings.worker_id,
        # Seconds that a worker that never comes back stalls its partitions.
        "broker_session_timeout": 10.0,
        "broker_heartbeat_interval": 2.0,
        # More than the grace that running items get in a revoke.
        "broker_rebalance_timeout": 60.0,
        "broker_request_timeout": 30.0,
        # A kill -9 repeats the work of this many seconds.
        "broker_commit_interval": 0.5,
        # A fetch overshoots the limit of a full queue by this many messages at most.
        "broker_max_poll_records": _MAX_POLL_RECORDS,
        # Batches, each of up to that many messages, in the stream of a topic. At 80 % of it Faust
        # stops reading the topic; one batch of every partition must fit above, or all topics wait.
        # The priority queue limits the messages of its topics; this alone limits those that wait
        # for a broker slow to take events.
        "stream_buffer_maxsize": 10 * partitions,
        # The revoke listener waits, with a limit.
        "stream_wait_empty": False,
        # Faust keeps one by default, at twice the work, and applies records of partitions it does
        # not know to whichever table it saw last.
        "table_standby_replicas": 0,
        "consumer_auto_offset_reset": "earliest",
        "processing_guarantee": "at_least_once",
        "producer_acks": -1,
        "producer_linger": settings.producer_linger_ms / 1000,
        "producer_max_request_size": MAX_MESSAGE_BYTES,
        "Table": "processor.faust_fixes.table:HardenedTable",
        "TableManager": "processor.faust_fixes.recovery:HardenedTableManager",
        "Monitor": "processor.faust_fixes.speed:QuietMonitor",
    }


def raw_topic(app: faust.App, settings: ProcessorSettings, name: str) -> Any:
    """Make a Faust topic of encoded messages."""
    return app.topic(
        settings.topic(name),
        schema=RawSchema(key_type=bytes, value_type=bytes),
        partitions=settings.topic_partitions,
    )


def state_table(app: faust.App, settings: ProcessorSettings) -> Any:
    """Make the table of job states; its changelog is the public topic `jobs.state`."""
    return app.Table(
        "jobs_state",
        default=None,
        partitions=settings.topic_partitions,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=raw_topic(app, settings, JOBS_STATE.name),
        options=dict(_ROCKSDB),
    )
