"""The retry policy: a pure decision whether, and after which delay, a failed item runs again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from schemas.errors import JobError


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with jitter: half of each delay is fixed, half random.

    The random half keeps the items of a failed dependency from coming back all at once.
    """

    max_attempts: int
    base_s: float
    max_s: float

    def delay_s(
        self, attempt: int, error: JobError, rng: random.Random | None = None
    ) -> float | None:
        """Seconds until the next attempt after number `attempt` (1 is the first); None: give up."""
        if not error.transient or attempt >= self.max_attempts:
            return None
        longest = min(self.max_s, self.base_s * 2 ** (attempt - 1))
        return longest / 2 + (rng or random).uniform(0, longest / 2)
