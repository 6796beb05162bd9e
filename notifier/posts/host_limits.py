"""Limits of the deliveries that are held, and that post at once: in all, and for each host."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

# Weight of the newest attempt in the moving average of a host's response time.
_NEWEST_WEIGHT = 0.5
# Silent hosts that are remembered; beyond, the oldest are forgotten.
_MAX_SILENT_HOSTS = 10_000


class NoSlot(Exception):
    """No slot to post to the host was free within `wait_s`."""


@dataclass(slots=True)
class _Host:
    """A host for which deliveries are held, with its average response time in seconds."""

    slots: asyncio.Semaphore
    probe: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    held: int = 0
    took_s: float | None = None


class HostLimits:
    """Two limits per host, so that deliveries to a slow one leave slots to all others.

    A delivery is first *held* (`try_hold` or `hold`), then waits for a *slot* to post. Per host, no
    more are held than can be posted within `wait_s` at its measured speed. A host that did not
    answer last time is posted to by one delivery at a time until it answers: else a few silent
    hosts would occupy all slots, each for as long as an attempt may last.
    """

    def __init__(
        self,
        total: int,
        per_host: int,
        backlog: int,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits.

        Args:
            total: deliveries that post at once.
            per_host: deliveries that post to one host at once.
            backlog: deliveries held at once; the caller keeps to it. One host gets half of it
                at most.
            wait_s: seconds that a held delivery waits for a slot.
            clock: seconds, monotonic.
        """
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        self._backlog = backlog
        self._wait_s = wait_s
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._silent: OrderedDict[str, float] = OrderedDict()
        # Callers of `hold`, first come first served, of the hosts that hold all they may.
        self._waiting: dict[str, OrderedDict[asyncio.Future[None], None]] = {}

    @property
    def hosts(self) -> int:
        """Hosts for which deliveries are held."""
        return len(self._hosts)

    def try_hold(self, host: str) -> bool:
        """Hold one more delivery for the host, if its limit allows; then `release` must follow."""
        entry = self._hosts.get(host) or _Host(asyncio.Semaphore(self._per_host))
        if entry.held >= (self._per_host if host in self._silent else self._max_held(entry)):
            return False
        entry.held += 1
        self._hosts[host] = entry
        return True

    async def hold(self, host: str) -> None:
        """Wait until one more may be held, first come first served; then `release` must follow."""
        if self.try_hold(host):
            return
        held = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, OrderedDict())[held] = None
        try:
            await held
        except asyncio.CancelledError:
            if not held.cancelled():
                self.release(host)
            raise
        finally:
            if (waiting := self._waiting.get(host)) is not None:
                waiting.pop(held, None)
                self._hold_waiting(host)

    def release(self, host: str) -> None:
        """End the hold of one delivery."""
        entry = self._hosts[host]
        entry.held -= 1
        if not entry.held:
            del self._hosts[host]
        self._hold_waiting(host)

    def _hold_waiting(self, host: str) -> None:
        waiting = self._waiting.get(host)
        while waiting:
            held = next(iter(waiting))
            if not held.cancelled():
                if not self.try_hold(host):
                    return
                held.set_result(None)
            del waiting[held]
        self._waiting.pop(host, None)

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Occupy a slot to post a held delivery, once one is free.

        Raises:
            NoSlot: none was free within `wait_s`.
        """
        entry = self._hosts[host]
        async with AsyncExitStack() as slots:
            try:
                async with asyncio.timeout(self._wait_s):
                    await slots.enter_async_context(entry.slots)
                    if host in self._silent:
                        await slots.enter_async_context(entry.probe)
                    await slots.enter_async_context(self._total)
            except TimeoutError as error:
                raise NoSlot(host) from error
            yield

    def _max_held(self, entry: _Host) -> int:
        limit = self._backlog // 8
        if entry.took_s is not None:
            in_time = self._per_host * self._wait_s / max(entry.took_s, 1e-3)
            limit = min(int(in_time), self._backlog // 2)
        return max(limit, self._per_host)

    def record_attempt(self, host: str, took_s: float, answered: bool) -> None:
        """Adjust the host's limit to an attempt; `answered` is true for any HTTP status."""
        entry = self._hosts[host]
        known_s = took_s if entry.took_s is None else entry.took_s
        entry.took_s = known_s + (took_s - known_s) * _NEWEST_WEIGHT
        if answered:
            self._silent.pop(host, None)
            self._hold_waiting(host)
            return
        self._silent.setdefault(host, self._clock())
        if len(self._silent) > _MAX_SILENT_HOSTS:
            self._silent.popitem(last=False)

    def silent_s(self, host: str) -> float:
        """Return the seconds since the host's first unanswered attempt; 0 if it answered last."""
        since = self._silent.get(host)
        return 0.0 if since is None else self._clock() - since
