"""Every setting of every service: name in the environment, default, unit and effect.

One class per service; what services share is in the base classes. `imagemill config` lists them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, FilePath, SecretStr, field_validator

from imagemill.addresses import AddressPolicy
from imagemill.environment import EnvironmentSettings, HomeSettings, ListenSettings, named
from imagemill.storage.settings import StoreSettings

_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class KafkaSettings(HomeSettings):
    """How to reach the Kafka cluster, and how our topics are laid out on it."""

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias=named("KAFKA_BOOTSTRAP_SERVERS"),
        description="host:port list of the cluster",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias=named("KAFKA_SECURITY_PROTOCOL"), description="transport"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", validation_alias=named("KAFKA_SASL_MECHANISM"), description="SASL mechanism"
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias=named("KAFKA_SASL_USERNAME"), description="SASL user"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SASL_PASSWORD"), description="SASL password"
    )
    kafka_ssl_ca_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CA_LOCATION"),
        description="CA certificates (PEM); the system's when unset",
    )
    kafka_ssl_certificate_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CERTIFICATE_LOCATION"),
        description="client certificate (PEM)",
    )
    kafka_ssl_key_location: FilePath | None = Field(
        None, validation_alias=named("KAFKA_SSL_KEY_LOCATION"), description="client key (PEM)"
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SSL_KEY_PASSWORD"), description="client key password"
    )
    topic_prefix: str = Field("imagemill.", description="prefix of every topic and group name")
    topic_partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="partitions of every topic (tables need equal counts)",
    )
    topic_replication_factor: int = Field(
        1, ge=1, le=7, description="replicas of every topic; 3 on a cluster"
    )

    @property
    def on_one_machine(self) -> bool:
        """As HomeSettings: not where the cluster is reached by a name that others have as well."""
        servers = self.kafka_bootstrap_servers.split(",")
        return {server.strip().rpartition(":")[0] for server in servers} <= _OWN_NAMES

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.topic_prefix + name

    def group(self, name: str) -> str:
        """The full name of a consumer group."""
        return self.topic_prefix + name


class UrlSettings(EnvironmentSettings):
    """What URLs that users name, of images and of webhooks, may reach."""

    url_allow: str = Field(
        "",
        description="comma separated host names and CIDRs that URLs may reach though not public",
    )

    @field_validator("url_allow")
    @classmethod
    def _understood(cls, allow: str) -> str:
        AddressPolicy.parse(allow)
        return allow


class LimitSettings(UrlSettings):
    """What a request may hold; checked before anything is queued."""

    max_image_bytes: int = Field(25 * 1024 * 1024, ge=1, description="bytes of one image")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels of one image")
    max_items: int = Field(100, ge=1, le=2_000, description="images of one job")
    max_field_bytes: int = Field(
        256 * 1024, ge=1024, description="bytes of a form field or JSON body that is no image"
    )
    url_timeout_s: float = Field(
        30.0, gt=0, description="seconds to fetch an image from a URL, name lookup included"
    )


class LogSettings(EnvironmentSettings):
    """How services log."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="level")
    log_format: Literal["text", "json"] = Field("text", description="one sentence, or JSON lines")


class ApiSettings(KafkaSettings, StoreSettings, LimitSettings, ListenSettings, LogSettings):
    """The HTTP API."""

    cors_origins: str = Field(
        "",
        description="comma separated origins whose pages may call the API from a browser, as in "
        "https://example.org; * for all; none if empty",
    )
    queue_limit: int = Field(
        1_000_000, ge=1, description="queued jobs above which submits are answered 429"
    )
    upload_memory_bytes: int = Field(
        8 * 1024 * 1024,
        ge=0,
        description="bytes of one request's images that wait in memory for its end; those above "
        "wait on disk",
    )
    delivery_timeout_s: float = Field(
        10.0, gt=0, description="seconds to wait for the broker before a submit is answered 503"
    )
    projection_path: Path | None = Field(
        None, description="SQLite file of the read side; <home>/api/projection-<port>.db if unset"
    )
    catch_up_timeout_s: float = Field(
        2.0, gt=0, description="seconds a read waits for the read side before it is answered 503"
    )
    wait_limit_s: float = Field(
        60.0, gt=0, description="longest `wait` a client may ask for, seconds"
    )
    cancel_wait_s: float = Field(
        10.0, gt=0, description="seconds a cancel waits for the processor's judgement"
    )
    max_waiters: int = Field(
        10_000, ge=1, description="requests that may wait for a job at once; above, none waits"
    )
    inference_model: str | None = Field(
        None, description="detector of POST /predict where ?model= names none; the default if unset"
    )
    rembg_models: str = Field(
        "u2net=u2netp",
        description="models used for those that rembg_queue clients name, comma separated; set it "
        "empty once `imagemill models fetch u2net` has run",
    )
    retention_days: float = Field(7.0, gt=0, description="days that ended jobs are kept")
    retention_interval_s: float = Field(
        3600.0, gt=0, description="seconds between two removals of old jobs and files"
    )

    @property
    def projection_file(self) -> Path:
        """The SQLite file of the read side; one for each API process on a machine."""
        return self.projection_path or self.home / "api" / f"projection-{self.port}.db"


class ProcessorSettings(KafkaSettings, StoreSettings, LimitSettings, ListenSettings, LogSettings):
    """The stream processor."""

    worker_id: str = Field(
        "processor-1",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="unique and stable name of this process: its static group membership",
    )
    worker_port: int = Field(
        6066, ge=1, le=65535, description="health port; also part of the member's unique URL"
    )
    worker_count: int | None = Field(
        None,
        ge=1,
        le=256,
        validation_alias=named("WORKER_COUNT"),
        description="inference processes; the number of cores if unset",
    )
    datadir: Path | None = Field(
        None, description="folder of the table's files; <home>/processor/<worker id> if unset"
    )
    item_timeout_s: float = Field(120.0, gt=0, description="seconds one item may run")
    item_memory_bytes: int = Field(
        3 * 1024**3, ge=256 * 1024**2, description="memory one inference process may hold"
    )
    max_attempts: int = Field(3, ge=1, le=100, description="tries of an item on transient failures")
    retry_base_s: float = Field(1.0, gt=0, description="delay before the second try, seconds")
    retry_max_s: float = Field(300.0, gt=0, description="longest delay between tries, seconds")
    revoke_grace_s: float = Field(
        30.0,
        gt=0,
        le=50,
        description="seconds running items may take to end when partitions move or it stops",
    )
    lane_size: int = Field(
        32, ge=1, le=10_000, description="fetched, unstarted items a partition; above, it pauses"
    )
    leave_on_stop: bool = Field(
        True, description="a clean stop gives partitions away at once; off for a rolling restart"
    )
    progress_interval_s: float = Field(
        0.1, ge=0.01, description="a running batch's state is published at most this often"
    )
    started_after_s: float = Field(
        0.05, ge=0, description="an item still running after this is reported as started"
    )
    producer_linger_ms: int = Field(
        10,
        ge=0,
        le=1000,
        description="while many messages are sent, how long one waits for others to go with",
    )
    execution_providers: str = Field(
        "", description="onnxruntime providers in order of preference; the best available if empty"
    )
    precision: Literal["exact", "balanced", "fast"] = Field(
        "exact",
        description="of models that offer more than one, where a job names none; needs bfloat16",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=64,
        description="most items that share one call of a model; if unset: 8 where a GPU provider "
        "(cuda, tensorrt, rocm) runs it, else 1, which is no batching",
    )
    batch_delay_ms: float = Field(
        10.0,
        ge=0,
        le=1000,
        description="longest time an item waits for others to share a model's call, milliseconds; "
        "with 0 they are those that wait for a process anyway",
    )
    models_dir: Path | None = Field(
        None,
        validation_alias=named("IMAGEMILL_MODELS"),
        description="folder of model files that is looked in first",
    )

    @property
    def processes(self) -> int:
        """How many inference processes there are."""
        return self.worker_count or len(os.sched_getaffinity(0))

    @property
    def table_dir(self) -> Path:
        """Folder of this worker's table files: an index of one set of topics."""
        folder = self.datadir or self.home / "processor" / self.worker_id
        return folder / self.topic_prefix.strip(".") if self.topic_prefix.strip(".") else folder


class NotifierSettings(KafkaSettings, UrlSettings, ListenSettings, LogSettings):
    """Webhook deliveries."""

    notifier_port: int = Field(8082, ge=1, le=65535, description="health port")
    webhook_secret: SecretStr | None = Field(
        None,
        description="Standard Webhooks secret (whsec_...), one for all notifiers; if unset, made "
        "once and kept in <home>/webhook.secret",
    )
    webhook_timeout_s: float = Field(15.0, gt=0, description="seconds one attempt may take")
    webhook_attempts: int = Field(
        3, ge=1, le=20, description="tries of a delivery before it is given up"
    )
    webhook_retry_base_s: float = Field(
        1.0, gt=0, description="seconds before the second try; each further wait is twice as long"
    )
    webhook_retry_max_s: float = Field(
        30.0, gt=0, description="longest wait between tries, also when Retry-After asks for more"
    )
    webhook_concurrency: int = Field(64, ge=1, le=4096, description="deliveries posting at once")
    webhook_per_host: int = Field(
        8, ge=1, le=4096, description="deliveries posting at once to one host"
    )
    webhook_backlog: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="deliveries held at once; above, reading pauses. Of one host those that are "
        "posted in time at its pace, half of them at most; others wait on webhooks.retry",
    )
    webhook_waiting: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="deliveries read from webhooks.retry that wait for their turn at once; above, "
        "reading it pauses",
    )
    webhook_hold_s: float = Field(
        5.0,
        gt=0,
        description="seconds that a delivery is held while its host is busy or the next try not "
        "due; longer, it waits on webhooks.retry",
    )
    webhook_turn_s: float = Field(
        24 * 3600.0, gt=0, description="seconds on webhooks.retry until one is given up"
    )
    webhook_silent_s: float = Field(
        600.0, gt=0, description="the same, if its host has not answered for as long"
    )
    webhook_repeats: int = Field(
        100_000,
        ge=1,
        description="results read behind one under way, which come again after a crash; "
        "above, reading pauses",
    )


SERVICES: dict[str, type[EnvironmentSettings]] = {
    "api": ApiSettings,
    "processor": ProcessorSettings,
    "notifier": NotifierSettings,
}
