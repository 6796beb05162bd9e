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
# Delays of a delivery that was due while its receiver was busy or failing.
_MIN_POSTPONE_S = 60.0
_MAX_POSTPONE_S = 1800.0


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of the attempts at one delivery; times in seconds.

    After failure number n the delay is `delays_s[n - 1]`, and after the last of them the delivery
    is given up. Retry-After lengthens a delay up to that of the next step, or up to `max_s`, which
    bounds all delays if it is set. A delay longer than `hold_s` is spent on a retry topic. There, a
    delivery waits for a busy or failing receiver `busy_s` at most beyond all its delays, and
    `silent_s` at most, if it is set, while its host does not answer.
    """

    delays_s: tuple[float, ...]
    max_s: float | None
    hold_s: float
    busy_s: float
    silent_s: float | None

    @property
    def patience_s(self) -> float:
        """The most seconds that a delivery spends on retry topics."""
        return self.busy_s + sum(self.delays_s) * (1 + _MAX_JITTER)

    def delay_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Return the delay after failure number `attempt`, which is not the last."""
        step_s = self.delays_s[attempt - 1]
        if self.max_s is not None:
            limit_s = self.max_s
        else:
            limit_s = max(step_s, self.delays_s[min(attempt, len(self.delays_s) - 1)])
        return min(max(step_s, retry_after_s or 0.0), limit_s)


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


@dataclass(frozen=True)
class Drop:
    """Do not try again, and keep nothing: it was an attempt that somebody asked for."""

    reason: str


Decision = Delivered | Retry | GiveUp | Drop


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
    if attempt > len(policy.delays_s):
        return GiveUp(f"{attempt} attempts failed. The last: {outcome.message}")
    return Retry(jittered(policy.delay_s(attempt, outcome.retry_after_s), random))


def decide_once(outcome: Outcome) -> Delivered | Drop:
    """Decide what follows a replay or a test event: nothing, as it is one attempt."""
    if outcome.failure is None:
        return Delivered()
    return Drop(outcome.message or "The attempt failed.")


def postpone_s(postponed: int, random: Callable[[], float]) -> float:
    """Return the delay of a delivery whose receiver was not ready so many times before.

    It doubles from a minute to half an hour: many deliveries to a receiver that is down for hours
    are then written to the topics seldom, and yet arrive soon after it is back.
    """
    return jittered(min(_MIN_POSTPONE_S * 2 ** min(postponed, 10), _MAX_POSTPONE_S), random)


def jittered(delay_s: float, random: Callable[[], float]) -> float:
    """Return the delay, up to a fifth longer."""
    return delay_s * (1 + _MAX_JITTER * random())


def gave_up_reason(waited_s: float, silent_s: float, policy: RetryPolicy) -> str | None:
    """Explain why a delivery on `webhooks.retry` is given up; None while it may wait on.

    Args:
        waited_s: seconds since it was first requeued.
        silent_s: seconds since its host stopped answering; 0 if it answered last time.
        policy: the limits of both.
    """
    if policy.silent_s is not None and min(waited_s, silent_s) > policy.silent_s:
        return f"The receiver has not answered for {silent_s:.0f} s."
    if waited_s > policy.patience_s:
        return f"The receiver was too slow, or not ready, for {waited_s:.0f} s."
    return None


def remaining_s(waited_s: float, silent_s: float, policy: RetryPolicy) -> float:
    """Return the seconds until `gave_up_reason` can first return a reason; always above 0."""
    left_s = policy.patience_s - waited_s
    if policy.silent_s is not None:
        left_s = min(left_s, policy.silent_s - min(waited_s, silent_s))
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
