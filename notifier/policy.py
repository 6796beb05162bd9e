"""What to do after an attempt to deliver: nothing more, again after a while, or give up. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from schemas.webhooks import WebhookFailure

# The receiver says that it wants no deliveries any more (Standard Webhooks).
_GONE = 410
# A wait is up to this share longer, so that receivers are not hit by all waiters at once.
_JITTER = 0.2
# After a wait of that much more it is certain that it has been one, rounding aside.
_MARGIN_S = 0.05


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how far apart a delivery is tried; times in seconds.

    The waits double from `base_s`. No wait, not even one that a receiver asks for with
    Retry-After, is longer than `max_s`, jitter aside; no delivery is held longer than `held_s` for
    the next try, but waits on `webhooks.retry`. A delivery whose host is busy waits for its
    turn for `turn_s` in all, or `silent_s` if the host has not answered for as long.
    """

    attempts: int
    base_s: float
    max_s: float
    held_s: float
    turn_s: float
    silent_s: float


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt; `failure` None means that it succeeded.

    `retry_after_s` is how long the receiver asked to be left alone.
    """

    failure: WebhookFailure | None = None
    status: int | None = None
    message: str | None = None
    response: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Delivered:
    """Nothing more to do."""


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
    """What to do after attempt number `attempt` (from 1); `random` gives 0 to 1.

    Every failure is worth another try, as endpoints are fixed and redeployed: but for those that
    a receiver or the URL guard has decided.
    """
    if outcome.failure is None:
        return Delivered()
    if outcome.failure == WebhookFailure.BLOCKED:
        return GiveUp(outcome.message or "The URL is blocked.")
    if outcome.status == _GONE:
        return GiveUp("The receiver answered 410: it wants no more deliveries.")
    if attempt >= policy.attempts:
        return GiveUp(f"{attempt} attempts failed. The last: {outcome.message}")
    wait = policy.base_s * 2 ** (attempt - 1)
    if outcome.retry_after_s is not None:
        wait = max(wait, outcome.retry_after_s)
    return Retry(min(wait, policy.max_s) * (1 + _JITTER * random()))


def outstayed(waited_s: float, silent_s: float, policy: RetryPolicy) -> GiveUp | None:
    """Whether a delivery, of a host silent for `silent_s`, has waited for its turn for too long."""
    if min(waited_s, silent_s) > policy.silent_s:
        return GiveUp(f"The receiver has not answered for {silent_s:.0f} s.")
    if waited_s > policy.turn_s:
        return GiveUp(f"Its turn did not come in {waited_s:.0f} s: the receiver is too slow.")
    return None


def patience_s(waited_s: float, silent_s: float, policy: RetryPolicy) -> float:
    """How long from now it has not, whatever the host does; in seconds, more than 0."""
    silence = min(waited_s, silent_s)
    left_s = min(policy.turn_s - waited_s, policy.silent_s - silence)
    return max(left_s, 0.0) + _MARGIN_S


def parse_retry_after(header: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or a date after `now` (Unix time).

    None when there is none, or it is malformed.
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
