"""Settings of the notifier."""

from __future__ import annotations

from pydantic import Field, SecretStr

from imagemill.settings.environment import ListenSettings
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.shared import LogSettings, UrlSettings


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
