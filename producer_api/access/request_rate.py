"""The limit of requests a second of a key: a token bucket for each, in each API process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from aiohttp import web

from producer_api.access.caller import Caller, caller_of
from producer_api.http.problems import Handler
from producer_api.http.rate_limits import LimitState, note_limits, over_limit, show_limits

_POLICY = "requests"
# Buckets above which full ones are dropped: a full bucket is as good as none.
_MAX_BUCKETS = 10_000


@dataclass
class _Bucket:
    """Requests that may be sent at once, as of a moment of the monotonic clock."""

    tokens: float
    at_s: float


class RequestRates:
    """Token buckets of callers with a limit, for one API process: several allow it each.

    A bucket holds the requests of one second, at least one, so that short bursts pass.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: Caller, now_s: float) -> LimitState | None:
        """Take a request out of the caller's bucket; None for a caller without a limit.

        Args:
            caller: its key, or else its owner, has the bucket.
            now_s: seconds of the monotonic clock.

        Raises:
            Problem: 429 when the bucket is empty.
        """
        per_s = caller.requests_per_s
        if per_s is None:
            return None
        size = max(1, math.ceil(per_s))
        bucket = self._bucket(caller.key_id or caller.owner or caller.name, size, now_s)
        bucket.tokens = min(size, bucket.tokens + (now_s - bucket.at_s) * per_s)
        bucket.at_s = now_s
        window_s = math.ceil(size / per_s)
        if bucket.tokens < 1:
            wait_s = math.ceil((1 - bucket.tokens) / per_s)
            raise over_limit(
                "rate_limited",
                f"This key may send {per_s:g} requests a second. Try again in {wait_s} s.",
                LimitState(_POLICY, size, 0, wait_s, window_s),
            )
        bucket.tokens -= 1
        full_s = math.ceil((size - bucket.tokens) / per_s)
        return LimitState(_POLICY, size, int(bucket.tokens), full_s, window_s)

    def _bucket(self, name: str, size: int, now_s: float) -> _Bucket:
        known = self._buckets.get(name)
        if known is None:
            if len(self._buckets) >= _MAX_BUCKETS:
                self._drop_unused(now_s)
            known = self._buckets[name] = _Bucket(size, now_s)
        return known

    def _drop_unused(self, now_s: float) -> None:
        """Drop the half of the buckets that were not used for longest; they are fullest."""
        by_age = sorted(self._buckets, key=lambda name: self._buckets[name].at_s)
        for name in by_age[: len(by_age) // 2]:
            del self._buckets[name]


def limit_rates(app: web.Application) -> None:
    """Answer 429 to callers that send more requests than their keys allow; show limits in headers.

    To call when the middleware that finds the caller is in place.
    """
    rates = RequestRates()

    @web.middleware
    async def rate_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        caller = caller_of(request)
        if caller.requests_per_s is not None:
            state = rates.take(caller, time.monotonic())
            note_limits(request, () if state is None else (state,))
        return await handler(request)

    app.middlewares.append(rate_middleware)
    app.on_response_prepare.append(show_limits)
