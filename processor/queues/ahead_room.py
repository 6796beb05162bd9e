"""The room in the priority queue for messages that are admitted ahead. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.jobs import Priority

Owner = str | None

# Of one owner in one priority: at most, and where many owners share the worker's limit.
_MAX_PER_OWNER = 512
_MIN_PER_OWNER = 16
# An owner of whom the consumer itself has this many messages in the queue needs none ahead. Fewer
# may be used up before its next fetch, at the rate of no-ops, and others would get the share.
_FED = 64
# Bytes of the values of all messages ahead: one may hold a batch of 2,000 URLs.
_MAX_BYTES = 64 << 20


@dataclass(slots=True)
class Waiting:
    """Messages of one owner in the queue: all, and those of them that were admitted ahead."""

    total: int
    ahead: int


@dataclass(slots=True)
class Budget:
    """Room for messages ahead of all priorities together."""

    messages: int
    bytes: int

    @classmethod
    def of(cls, limit: int, held: int, held_bytes: int) -> Budget:
        """Subtract what is held from the limits."""
        return cls(limit - held, _MAX_BYTES - held_bytes)


class Room:
    """Room in one priority, by owner; taking a message uses it up."""

    def __init__(self, by_owner: dict[Owner, int], for_others: int, budget: Budget) -> None:
        """
        Args:
            by_owner: room for the owners that are in the queue.
            for_others: room for each owner that is not.
        """
        self._by_owner = by_owner
        self._for_others = for_others
        self._budget = budget

    @classmethod
    def beside(cls, waiting: Mapping[Owner, Waiting], limit: int, budget: Budget) -> Room:
        """Make the room beside what waits in the queue already.

        None in an empty queue, nor for an owner that waits alone: the consumer itself fills it,
        and nothing is behind another owner's messages. None for owners that the consumer feeds.
        Others are filled up when less than half of their room is used.
        """
        if not waiting:
            return cls({}, 0, budget)
        most = max(_MIN_PER_OWNER, min(_MAX_PER_OWNER, limit // (len(waiting) + 1)))
        by_owner = {}
        for owner, held in waiting.items():
            fed = held.total - held.ahead >= _FED
            enough = len(waiting) == 1 or fed or held.total > most // 2
            by_owner[owner] = 0 if enough else most - held.total
        return cls(by_owner, most, budget)

    @property
    def is_shared(self) -> bool:
        """True if messages of several owners wait in the queue."""
        return len(self._by_owner) > 1

    def wants(self, owner: Owner) -> bool:
        """Return whether there is room for a message of the owner."""
        if self._budget.messages <= 0 or self._budget.bytes <= 0:
            return False
        return self._by_owner.get(owner, self._for_others) > 0

    def take(self, owner: Owner, size: int) -> None:
        """Use the room of one message of `size` bytes."""
        self._by_owner[owner] = self._by_owner.get(owner, self._for_others) - 1
        self._budget.messages -= 1
        self._budget.bytes -= size


Rooms = Mapping[Priority, Room]
