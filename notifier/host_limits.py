"""How many deliveries are held and post at once: over all hosts, and for each of them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

# Weight of the newest attempt in what is known of a host's pace.
_NEWEST = 0.5
# Hosts that are known not to answer; the oldest are forgotten.
_SILENT = 10_000


class NoSlot(Exception):
    """The host was busy for too long."""


@dataclass(slots=True)
class _Host:
    """A host that deliveries are held for, and how long it takes to answer."""

    slots: asyncio.Semaphore
    probe: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    held: int = 0
    took_s: float | None = None


class HostLimits:
    """Bounds in two stages, so that who waits for a slow host takes no other host's place.

    Of one host, so many are held as find a slot in time at the pace that it answers at. One that
    did not answer the last time is posted to one at a time until it does: else a few of them would
    take all places, each for as long as an attempt may last.
    """

    def __init__(
        self,
        total: int,
        per_host: int,
        backlog: int,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total` and `per_host` post at once, `backlog` are held; a slot is waited for `wait_s`.

        The backlog is for the caller to keep to; here, no host gets more than half of it.
        """
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        self._backlog = backlog
        self._wait_s = wait_s
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._silent: OrderedDict[str, float] = OrderedDict()
        # Of each host, in their order; only where it has no room.
        self._waiting: dict[str, OrderedDict[asyncio.Future[None], None]] = {}

    @property
    def hosts(self) -> int:
        """Hosts that deliveries are held for."""
        return len(self._hosts)

    def admit(self, host: str) -> bool:
        """Whether one more delivery may be held for that host; then `leave` must follow."""
        entry = self._hosts.get(host) or _Host(asyncio.Semaphore(self._per_host))
        if entry.held >= (self._per_host if host in self._silent else self._share(entry)):
            return False
        entry.held += 1
        self._hosts[host] = entry
        return True

    async def turn(self, host: str) -> None:
        """Waits until one more may be held, first come, first served; then `leave` must follow."""
        if self.admit(host):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, OrderedDict())[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave(host)
            raise
        finally:
            if (waiting := self._waiting.get(host)) is not None:
                waiting.pop(turn, None)
                self._admit_waiting(host)

    def leave(self, host: str) -> None:
        """A delivery that was admitted is held no more."""
        entry = self._hosts[host]
        entry.held -= 1
        if not entry.held:
            del self._hosts[host]
        self._admit_waiting(host)

    def _admit_waiting(self, host: str) -> None:
        waiting = self._waiting.get(host)
        while waiting:
            turn = next(iter(waiting))
            if not turn.cancelled():
                if not self.admit(host):
                    return
                turn.set_result(None)
            del waiting[turn]
        self._waiting.pop(host, None)

    @asynccontextmanager
    async def of(self, host: str) -> AsyncIterator[None]:
        """Waits for a place to post an admitted delivery to that host, and holds it.

        Raises:
            NoSlot: there was none in time.
        """
        entry = self._hosts[host]
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(self._wait_s):
                    await places.enter_async_context(entry.slots)
                    if host in self._silent:
                        await places.enter_async_context(entry.probe)
                    await places.enter_async_context(self._total)
            except TimeoutError as error:
                raise NoSlot(host) from error
            yield

    def _share(self, entry: _Host) -> int:
        share = self._backlog // 8
        if entry.took_s is not None:
            in_time = self._per_host * self._wait_s / max(entry.took_s, 1e-3)
            share = min(int(in_time), self._backlog // 2)
        return max(share, self._per_host)

    def attempted(self, host: str, took_s: float, answered: bool) -> None:
        """How long an attempt took, and whether the host answered it, with any status."""
        entry = self._hosts[host]
        known = took_s if entry.took_s is None else entry.took_s
        entry.took_s = known + (took_s - known) * _NEWEST
        if answered:
            self._silent.pop(host, None)
            self._admit_waiting(host)
            return
        self._silent.setdefault(host, self._clock())
        if len(self._silent) > _SILENT:
            self._silent.popitem(last=False)

    def silent_s(self, host: str) -> float:
        """Since when the host has not answered any attempt, in seconds; 0 if it answered last."""
        since = self._silent.get(host)
        return 0.0 if since is None else self._clock() - since
