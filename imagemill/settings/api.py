"""Settings of the HTTP API."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from imagemill.settings.access import AccessSettings
from imagemill.settings.audit import AuditSettings
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.oidc import OidcSettings
from imagemill.settings.server import ServerSettings
from imagemill.settings.shared import LimitSettings, LogSettings, WebhookKeySettings
from imagemill.settings.storage import StoreSettings


class ApiSettings(
    KafkaSettings,
    StoreSettings,
    LimitSettings,
    ServerSettings,
    AccessSettings,
    OidcSettings,
    AuditSettings,
    LogSettings,
    WebhookKeySettings,
):
    """The HTTP API."""

    cors_origins: str = Field(
        "",
        description="origins whose pages may call the API from a browser, comma separated, such as "
        "https://example.org; * for all; none if empty",
    )
    queue_limit: int = Field(
        1_000_000, ge=1, description="queued jobs above which a submit is answered 429"
    )
    upload_memory_bytes: int = Field(
        8 * 1024 * 1024,
        ge=0,
        description="most bytes of one request's images held in memory until the request ends; "
        "further ones are held on disk",
    )
    delivery_timeout_s: float = Field(
        10.0, gt=0, description="seconds to wait for the broker until a submit is answered 503"
    )
    projection_path: Path | None = Field(
        None, description="SQLite file of the read model; <home>/api/projection-<port>.db if unset"
    )
    catch_up_timeout_s: float = Field(
        2.0,
        gt=0,
        description="seconds a read waits for the read model to catch up until it is answered 503",
    )
    max_webhook_endpoints: int = Field(100, ge=0, description="most webhook endpoints of one owner")
    webhook_overlap_s: int = Field(
        24 * 3600,
        ge=0,
        le=7 * 24 * 3600,
        description="seconds for which the secret before a rotation signs too, unless the request "
        "says otherwise",
    )
    wait_limit_s: float = Field(
        60.0, gt=0, description="most seconds a client may ask to wait for a job's end"
    )
    cancel_wait_s: float = Field(
        10.0, gt=0, description="seconds a cancellation waits for the processor's decision"
    )
    max_waiters: int = Field(
        10_000,
        ge=1,
        description="most requests that wait for a job's end at once; further ones are answered "
        "without a wait",
    )
    inference_model: str | None = Field(
        None,
        description="detector of POST /predict if ?model= names none; the default one if unset",
    )
    rembg_models: str = Field(
        "u2net=u2netp",
        description="models used in place of those that rembg_queue clients name, as name=name, "
        "comma separated; set it empty after `imagemill models fetch u2net`",
    )
    retention_days: float = Field(
        7.0, gt=0, description="days that ended jobs and their files are kept"
    )
    retention_interval_s: float = Field(
        3600.0, gt=0, description="seconds between two removals of old jobs and files"
    )

    @property
    def projection_file(self) -> Path:
        """The SQLite file of the read model; each API process on a machine has its own."""
        return self.projection_path or self.home / "api" / f"projection-{self.port}.db"
