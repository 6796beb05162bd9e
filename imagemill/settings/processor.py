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
    prefetch_per_partition: int = Field(
        32,
        ge=1,
        le=10_000,
        validation_alias=named("IMAGEMILL_PREFETCH_PER_PARTITION", "IMAGEMILL_LANE_SIZE"),
        description="messages of a partition that may wait in memory; at this many it is paused",
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
