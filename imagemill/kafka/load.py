"""Measures the rate of messages, so that many are dealt with together and a few at once."""

from __future__ import annotations

import time
from collections.abc import Callable

# Above this rate, requests to the broker with a message or two each are most of a process's work.
HIGH_PER_S = 500
_WINDOW_S = 0.05


class LoadMeter:
    """Counts messages in windows of 50 ms; the load is high after a window over the threshold.

    A window without a message ends a high load. Not safe to share between threads.
    """

    def __init__(
        self, high_per_s: float = HIGH_PER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`high_per_s` is the threshold in messages a second; `clock` returns seconds."""
        self._clock = clock
        self._high_count = high_per_s * _WINDOW_S
        self._window_end = clock() + _WINDOW_S
        self._counted = 0
        self._low_until = self._window_end
        self.high = False

    def count(self, messages: int) -> bool:
        """Count messages; return whether the load is high by the last whole window."""
        now = self._clock()
        if now >= self._window_end:
            recent = self._low_until <= now < self._window_end + _WINDOW_S
            self.high = recent and self._counted >= self._high_count
            self._window_end = now + _WINDOW_S
            self._counted = 0
        self._counted += messages
        return self.high

    def hold_low(self, seconds: float) -> None:
        """Report a low load for some seconds, however many messages come."""
        self._low_until = self._clock() + seconds
        self.high = False
