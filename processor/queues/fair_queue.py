"""A weighted fair queue: start-time fair queueing (Goyal, Vin, Cheng 1996). No I/O."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Owner(Generic[T]):
    """The waiting entries of an owner, first in first out, and the end of its last service."""

    finish: float = 0.0
    waiting: deque[tuple[float, T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """Entries of several owners, each of whom gets a share in proportion to its weight.

    An entry starts at a virtual time: the present one, or the end of its owner's entry before,
    whichever is later. It lasts 1 / weight. The entry with the earliest start goes first, and the
    virtual time is that start. So over any span in which two owners both wait, their numbers of
    entries are in the ratio of their weights, give or take one entry each; a share that is not used
    goes to the others (work-conserving); and time in which an owner had nothing waiting is no
    credit for later.
    """

    def __init__(self) -> None:
        self._owners: dict[Hashable, _Owner[T]] = {}
        # One entry for each owner that waits: start of its first entry, order of arrival, owner.
        self._starts: list[tuple[float, int, Hashable]] = []
        # Owners that do not wait, by the end of their last service: forgotten when it has passed.
        self._resting: list[tuple[float, int, Hashable]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def owners(self) -> int:
        """Number of owners that have an entry waiting."""
        return len(self._starts)

    def waiting(self, owner: Hashable) -> int:
        """Number of entries of an owner that wait."""
        known = self._owners.get(owner)
        return len(known.waiting) if known is not None else 0

    def waiting_by_owner(self) -> dict[Any, int]:
        """Return the number of waiting entries of each owner that has any."""
        return {owner: len(self._owners[owner].waiting) for _, _, owner in self._starts}

    def put(self, owner: Hashable, weight: int, entry: T) -> None:
        """Append an entry to those of its owner.

        Args:
            weight: share of the owner beside one of weight 1; that of each entry counts for itself.
        """
        known = self._owners.get(owner)
        if known is None:
            known = self._owners[owner] = _Owner()
        if not known.waiting:
            start = max(self._now, known.finish)
            heapq.heappush(self._starts, (start, next(self._order), owner))
        known.waiting.append((1 / weight, entry))
        self._length += 1

    def pop(self) -> T | None:
        """Remove and return the entry whose start is the earliest; None if nothing waits."""
        if not self._starts:
            return None
        start, _, owner = self._starts[0]
        known = self._owners[owner]
        duration, entry = known.waiting.popleft()
        self._length -= 1
        self._now, known.finish = start, start + duration
        if known.waiting:
            heapq.heapreplace(self._starts, (known.finish, next(self._order), owner))
        else:
            heapq.heappop(self._starts)
            heapq.heappush(self._resting, (known.finish, next(self._order), owner))
        if self._starts:
            self._forget_rested()
        else:
            self.clear()  # the end of a busy period: nobody is behind or ahead
        return entry

    def clear(self) -> None:
        """Drop all entries, and forget what the owners have used."""
        self._owners.clear()
        self._starts.clear()
        self._resting.clear()
        self._now, self._length = 0.0, 0

    def _forget_rested(self) -> None:
        while self._resting and self._resting[0][0] <= self._now:
            finish, _, owner = heapq.heappop(self._resting)
            known = self._owners.get(owner)
            if known is not None and not known.waiting and known.finish <= finish:
                del self._owners[owner]
