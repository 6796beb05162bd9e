"""Decide what follows an attempt to post: nothing, a retry after a delay, or giving up. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from schemas.webhooks import WebhookFailure

# "Gone": the receiver wants no more deliveries (Standard Webhooks).
_GONE = 410
# A delay is up to this share longer, so that retries do not reach a receiver all at once.
_MAX_JITTER = 0.2
# Added to the remaining time, so that rounding cannot end a wait before its limit is passed.
_MARGIN_S = 0.05


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of the attempts at one delivery; times in seconds.

    The delay before the second attempt is `base_s`, and doubles with each further one. None is
    longer than `max_s` and its jitter, even if Retry-After asks for more. A delay longer than
    `hold_s` is spent on `webhooks.retry`. There, a delivery waits `busy_s` at most while its host
    is busy, and `silent_s` at most while its host does not answer.
    """

    attempts: int
    base_s: float
    max_s: float
    hold_s: float
    busy_s: float
    silent_s: float


@dataclass(frozen=True)
class Outcome:
    """Result of one attempt; `failure` is None when the receiver accepted the delivery.

    `retry_after_s` is the delay that the receiver asked for, in seconds.
    """

    failure: WebhookFailure | None = None
    status: int | None = None
    message: str | None = None
    response: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Delivered:
    """The receiver accepted the delivery."""


@dataclass(frozen=True)
class Retry:
    """Try again after `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """Do not try again; `reason` is a sentence for the operator."""

    reason: str


Decision = Delivered | Retry | GiveUp


def decide(
    outcome: Outcome, attempt: int, policy: RetryPolicy, random: Callable[[], float]
) -> Decision:
    """Decide what follows attempt number `attempt`, counted from 1; `random` returns 0 to 1.

    Every failure is retried, as receivers are repaired and redeployed, except a blocked URL and
    a 410: those were decided by the URL guard or by the receiver.
    """
    if outcome.failure is None:
        return Delivered()
    if outcome.failure == WebhookFailure.BLOCKED:
        return GiveUp(outcome.message or "The URL is blocked.")
    if outcome.status == _GONE:
        return GiveUp("The receiver answered 410: it wants no more deliveries.")
    if attempt >= policy.attempts:
        return GiveUp(f"{attempt} attempts failed. The last: {outcome.message}")
    delay_s = policy.base_s * 2 ** (attempt - 1)
    if outcome.retry_after_s is not None:
        delay_s = max(delay_s, outcome.retry_after_s)
    return Retry(min(delay_s, policy.max_s) * (1 + _MAX_JITTER * random()))


def gave_up_reason(waited_s: float, silent_s: float, policy: RetryPolicy) -> str | None:
    """Explain why a delivery on `webhooks.retry` is given up; None while it may wait on.

    Args:
        waited_s: seconds since it was first requeued.
        silent_s: seconds since its host stopped answering; 0 if it answered last time.
        policy: the limits of both.
    """
    if min(waited_s, silent_s) > policy.silent_s:
        return f"The receiver has not answered for {silent_s:.0f} s."
    if waited_s > policy.busy_s:
        return f"The receiver had no slot free for {waited_s:.0f} s: it is too slow."
    return None


def remaining_s(waited_s: float, silent_s: float, policy: RetryPolicy) -> float:
    """Return the seconds until `gave_up_reason` can first return a reason; always above 0."""
    silence_s = min(waited_s, silent_s)
    left_s = min(policy.busy_s - waited_s, policy.silent_s - silence_s)
    return max(left_s, 0.0) + _MARGIN_S


def parse_retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; None if it is absent or malformed.

    The header is a number of seconds, or a date; `now` is Unix time.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
