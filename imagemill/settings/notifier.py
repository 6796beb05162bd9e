"""Settings of the notifier."""

from __future__ import annotations

from pydantic import Field, SecretStr

from imagemill.settings.environment import ListenSettings
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.shared import LogSettings, UrlSettings, WebhookKeySettings


class NotifierSettings(KafkaSettings, UrlSettings, ListenSettings, LogSettings, WebhookKeySettings):
    """Webhook deliveries."""

    notifier_port: int = Field(8082, ge=1, le=65535, description="TCP port of the health answers")
    webhook_secret: SecretStr | None = Field(
        None,
        description="Standard Webhooks secret (whsec_...), the same for all notifiers; if unset, "
        "generated once into <home>/webhook.secret",
    )
    webhook_timeout_s: float = Field(15.0, gt=0, description="most seconds of one attempt")
    webhook_attempts: int = Field(
        3, ge=1, le=20, description="most attempts at a delivery until it is given up"
    )
    webhook_retry_base_s: float = Field(
        1.0,
        gt=0,
        description="seconds before the second attempt; each further delay is twice as long",
    )
    webhook_retry_max_s: float = Field(
        30.0,
        gt=0,
        description="most seconds between two attempts, also if Retry-After asks for more",
    )
    webhook_concurrency: int = Field(
        64, ge=1, le=4096, description="most deliveries posted at once"
    )
    webhook_per_host: int = Field(
        8, ge=1, le=4096, description="most deliveries posted at once to one host"
    )
    webhook_backlog: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="most deliveries in memory; above, reading pauses. One host gets at most half "
        "of them, and no more than can be posted in time at its speed; its others wait on "
        "webhooks.retry",
    )
    webhook_waiting: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="advanced: most deliveries read from webhooks.retry that wait until they are "
        "due; above, reading it pauses",
    )
    webhook_hold_s: float = Field(
        5.0,
        gt=0,
        description="advanced: most seconds that a delivery waits in memory for a busy host or its "
        "next attempt; with a longer wait it goes to webhooks.retry",
    )
    webhook_turn_s: float = Field(
        24 * 3600.0,
        gt=0,
        description="advanced: seconds on webhooks.retry after which a delivery is given up",
    )
    webhook_silent_s: float = Field(
        600.0,
        gt=0,
        description="advanced: the same in seconds if its host has not answered for that long",
    )
    webhook_repeats: int = Field(
        100_000,
        ge=1,
        description="advanced: most results read beyond the first that is in flight, which are "
        "read again after a crash; above, reading pauses",
    )
