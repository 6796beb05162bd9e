"""Settings of the stream processor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from imagemill.settings.environment import ListenSettings, named
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.shared import LimitSettings, LogSettings
from imagemill.settings.storage import StoreSettings


class ProcessorSettings(KafkaSettings, StoreSettings, LimitSettings, ListenSettings, LogSettings):
    """The stream processor."""

    worker_id: str = Field(
        "processor-1",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="name of this worker, unique and the same after a restart: its static "
        "membership of the consumer group",
    )
    worker_port: int = Field(
        6066,
        ge=1,
        le=65535,
        description="health port; with several workers on a machine each needs its own",
    )
    worker_count: int | None = Field(
        None,
        ge=1,
        le=256,
        validation_alias=named("WORKER_COUNT"),
        description="inference processes; the number of cores if unset",
    )
    datadir: Path | None = Field(
        None, description="folder of the table files; <home>/processor/<worker id> if unset"
    )
    item_timeout_s: float = Field(120.0, gt=0, description="most seconds one item may run")
    item_memory_bytes: int = Field(
        3 * 1024**3, ge=256 * 1024**2, description="most bytes of memory of one inference process"
    )
    max_attempts: int = Field(
        3, ge=1, le=100, description="most attempts at an item whose failures are transient"
    )
    retry_base_s: float = Field(
        1.0,
        gt=0,
        description="seconds before the second attempt; each further delay is twice as long",
    )
    retry_max_s: float = Field(300.0, gt=0, description="most seconds between two attempts")
    revoke_grace_s: float = Field(
        30.0,
        gt=0,
        le=50,
        description="most seconds that running items may take to end when the worker stops or its "
        "partitions are revoked",
    )
    prefetch_per_partition: int = Field(
        32,
        ge=1,
        le=10_000,
        validation_alias=named("IMAGEMILL_PREFETCH_PER_PARTITION", "IMAGEMILL_LANE_SIZE"),
        description="messages of a partition that may wait in memory; at this many it is paused",
    )
    ahead_limit: int = Field(
        4096,
        ge=0,
        le=100_000,
        description="messages that a worker holds ahead of the queues' order, so that an owner "
        "does not wait behind another's backlog; with 0 it does",
    )
    leave_on_stop: bool = Field(
        True,
        description="whether a clean stop gives the partitions to other workers at once; set "
        "false for a rolling restart",
    )
    progress_interval_s: float = Field(
        0.1,
        ge=0.01,
        description="least seconds between two published states of a running job of several items",
    )
    started_after_s: float = Field(
        0.05, ge=0, description="seconds after which a running item is reported as started"
    )
    producer_linger_ms: int = Field(
        10,
        ge=0,
        le=1000,
        description="milliseconds that a message waits for others in the same request while the "
        "load is high",
    )
    execution_providers: str = Field(
        "",
        description="onnxruntime providers in order of preference, comma separated; the best "
        "available if empty",
    )
    precision: Literal["exact", "balanced", "fast"] = Field(
        "exact",
        description="arithmetic of models that offer several, if a job names none; balanced and "
        "fast need bfloat16",
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
        description="most milliseconds an item waits for others to share a model's call; with 0 it "
        "shares with those that wait for a process already",
    )
    models_dir: Path | None = Field(
        None,
        validation_alias=named("IMAGEMILL_MODELS"),
        description="folder of model files, searched before the home folder",
    )

    @property
    def processes(self) -> int:
        """The number of inference processes."""
        return self.worker_count or len(os.sched_getaffinity(0))

    @property
    def table_dir(self) -> Path:
        """Folder of this worker's table files: an index of one set of topics."""
        folder = self.datadir or self.home / "processor" / self.worker_id
        return folder / self.topic_prefix.strip(".") if self.topic_prefix.strip(".") else folder
