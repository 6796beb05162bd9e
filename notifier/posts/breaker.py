"""Stops posts to receivers that have failed time after time, but for a probe a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

# Failures one after the other that open the circuit of a receiver.
_OPEN_AFTER = 5
# Receivers with a failure that are remembered; beyond, the oldest are forgotten: their circuits
# close, and open again after as many failures.
_MAX_CIRCUITS = 20_000


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    # Time of the next probe, by the clock; None while the circuit is closed.
    probe_at: float | None = None


class Breaker:
    """A circuit for each receiver, a host or an endpoint, of this process.

    A circuit opens after five failures in a row. While it is open, one post a minute goes out; one
    that succeeds closes it.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`interval_s` is the time in seconds between two probes."""
        self._interval_s = interval_s
        self._clock = clock
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def wait_s(self, *receivers: str) -> float:
        """Return the seconds until a post may go to all these; 0 if it may now."""
        due = [c.probe_at for c in self._of(receivers) if c.probe_at is not None]
        return max(0.0, max(due) - self._clock()) if due else 0.0

    def try_post(self, *receivers: str) -> bool:
        """Return True if a post may go to all these now; it is then the probe of those open."""
        if self.wait_s(*receivers) > 0:
            return False
        for circuit in self._of(receivers):
            if circuit.probe_at is not None:
                circuit.probe_at = self._clock() + self._interval_s
        return True

    def succeeded(self, receiver: str) -> None:
        """Close the receiver's circuit."""
        self._circuits.pop(receiver, None)

    def failed(self, receiver: str) -> None:
        """Count a failure; the fifth in a row opens the receiver's circuit."""
        circuit = self._circuits.setdefault(receiver, _Circuit())
        circuit.failures += 1
        if circuit.failures >= _OPEN_AFTER:
            circuit.probe_at = self._clock() + self._interval_s
        self._circuits.move_to_end(receiver)
        if len(self._circuits) > _MAX_CIRCUITS:
            self._circuits.popitem(last=False)

    def _of(self, receivers: tuple[str, ...]) -> list[_Circuit]:
        return [self._circuits[name] for name in receivers if name in self._circuits]
