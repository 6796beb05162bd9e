"""How fast messages come: few are dealt with at once, many together."""

from __future__ import annotations

import time
from collections.abc import Callable

# Above this, requests to the broker that each carry a message or two are most of the work.
_HIGH_PER_S = 500
_WINDOW_S = 0.05


class Pace:
    """Counts messages in windows of time."""

    def __init__(
        self, high_per_s: float = _HIGH_PER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._high_count = high_per_s * _WINDOW_S
        self._window_end = clock() + _WINDOW_S
        self._counted = 0
        self._rest_end = self._window_end
        self.high = False

    def count(self, messages: int) -> bool:
        """Count messages; whether the pace is high, going by the last whole window."""
        now = self._clock()
        if now >= self._window_end:
            recent = self._rest_end <= now < self._window_end + _WINDOW_S
            self.high = recent and self._counted >= self._high_count
            self._window_end = now + _WINDOW_S
            self._counted = 0
        self._counted += messages
        return self.high

    def rest(self, seconds: float) -> None:
        """Not high for so long, whatever comes."""
        self._rest_end = self._clock() + seconds
        self.high = False
