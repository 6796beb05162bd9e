"""Which offsets may be committed when messages are finished in another order than they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    """Offsets under way in the order they came, and the offset to read from after a restart."""

    open: deque[int] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)
    last: int = -1
    watermark: int | None = None
    taken: int | None = None


class OrderedCommits(Generic[P]):
    """The commit watermark of each partition: below it, every message is done.

    Nothing is committed past a message under way, so whatever is lost in a crash is read again.
    Not for use from several threads at once. What it holds grows with the messages under way and
    those finished behind the oldest of them: the caller bounds how many it opens.
    """

    def __init__(self) -> None:
        self._partitions: dict[P, _Partition] = {}

    def __len__(self) -> int:
        """How many messages are under way, or wait behind one."""
        return sum(len(partition.open) for partition in self._partitions.values())

    def opened(self, partition: P, offset: int) -> None:
        """A message was received. Gaps are fine (compacted or transaction records).

        Raises:
            ValueError: the offset is not beyond the last one of its partition.
        """
        entry = self._partitions.setdefault(partition, _Partition())
        if offset <= entry.last:
            raise ValueError(f"offset {offset} of {partition} came after {entry.last}")
        entry.last = offset
        entry.open.append(offset)

    def done(self, partition: P, offset: int) -> None:
        """A message is finished; of a partition that was dropped since, it changes nothing."""
        entry = self._partitions.get(partition)
        if entry is None or not entry.open or not entry.open[0] <= offset <= entry.last:
            return
        entry.done.add(offset)
        while entry.open and entry.open[0] in entry.done:
            first = entry.open.popleft()
            entry.done.discard(first)
            entry.watermark = first + 1

    def take(self) -> dict[P, int]:
        """The offset to commit of each partition whose watermark moved since the last `take`.

        As Kafka wants it: the offset of the first message that is not done.
        """
        moved = {}
        for partition, entry in self._partitions.items():
            if entry.watermark is not None and entry.watermark != entry.taken:
                moved[partition] = entry.taken = entry.watermark
        return moved

    def drop(self, partition: P) -> int | None:
        """Forget a partition that another consumer reads now; its watermark, if it has one."""
        entry = self._partitions.pop(partition, None)
        return entry.watermark if entry else None
