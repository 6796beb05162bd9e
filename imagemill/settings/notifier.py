"""Settings of the notifier."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

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
    webhook_schedule: str = Field(
        "5s,5m,30m,2h,5h,10h,14h,20h,24h",
        description="delays between the attempts at a delivery, comma separated, each a number "
        "and s, m, h or d; each is up to a fifth longer. After the attempt that follows the last, "
        "the delivery is given up",
    )
    webhook_attempts: int | None = Field(
        None,
        ge=1,
        le=100,
        description="most attempts at a delivery until it is given up; if unset, one more than the "
        "schedule has delays",
    )
    webhook_retry_base_s: float | None = Field(
        None,
        gt=0,
        description="in place of the schedule: seconds before the second attempt; each further "
        "delay is twice as long",
    )
    webhook_retry_max_s: float | None = Field(
        None,
        gt=0,
        description="most seconds between two attempts, also if Retry-After asks for more; if "
        "unset, Retry-After is followed up to the next delay of the schedule",
    )
    webhook_disable_after_s: float = Field(
        5 * 86_400.0,
        gt=0,
        description="seconds in which all posts to an endpoint have failed, after which it is "
        "disabled",
    )
    webhook_probe_s: float = Field(
        60.0,
        gt=0,
        description="advanced: seconds between two posts to a host or endpoint that has failed "
        "five times in a row",
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
        "due within a minute; above, reading it pauses. One host gets a quarter of them",
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
        description="advanced: seconds beyond all delays of the schedule after which a delivery "
        "that waits for a busy or failing receiver is given up",
    )
    webhook_silent_s: float | None = Field(
        None,
        gt=0,
        description="advanced: seconds after which a waiting delivery is given up if its host has "
        "not answered for that long; never if unset",
    )
    webhook_repeats: int = Field(
        100_000,
        ge=1,
        description="advanced: most results read beyond the first that is in flight, which are "
        "read again after a crash; above, reading pauses",
    )

    @field_validator("webhook_schedule")
    @classmethod
    def _readable(cls, schedule: str) -> str:
        _parse_schedule(schedule)
        return schedule

    @property
    def webhook_delays_s(self) -> tuple[float, ...]:
        """The delays between the attempts at a delivery, in seconds."""
        base_s, attempts = self.webhook_retry_base_s, self.webhook_attempts
        delays_s = _parse_schedule(self.webhook_schedule)
        if base_s is not None:
            count = attempts - 1 if attempts is not None else len(delays_s)
            delays_s = tuple(base_s * 2.0**n for n in range(count))
        elif attempts is not None:
            # More attempts than the schedule has delays: the last is repeated.
            delays_s = (*delays_s, *delays_s[-1:] * attempts)[: attempts - 1]
        return delays_s


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_DELAY_S = 7 * 86_400


def _parse_schedule(text: str) -> tuple[float, ...]:
    """Return delays in seconds; raises ValueError for one that is none, or too long."""
    delays_s = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        number, unit = part[:-1], part[-1]
        try:
            delay_s = float(number) * _UNITS_S[unit]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{part!r} is no delay such as 5s, 30m, 2h or 1d") from error
        if not 0 < delay_s <= _MAX_DELAY_S:
            raise ValueError(f"{part!r} is no delay above 0 s and up to 7d")
        delays_s.append(delay_s)
    return tuple(delays_s)
