"""Settings of the HTTP API."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from imagemill.settings.environment import ListenSettings
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.shared import LimitSettings, LogSettings
from imagemill.settings.storage import StoreSettings


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
