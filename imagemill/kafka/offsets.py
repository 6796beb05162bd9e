"""Which offsets may be committed when messages are finished in another order than they came."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    """The offsets under way in the order they came, and the ends of what came and is committed."""

    open: dict[int, None] = field(default_factory=dict)
    first: int = -1
    end: int = 0
    committed: int | None = None

    @property
    def watermark(self) -> int:
        return next(iter(self.open), self.end)


class OrderedCommits(Generic[P]):
    """The commit watermark of each partition: below it, every message is done.

    Nothing is committed past a message under way, so whatever is lost in a crash is read again.
    Not for use from several threads at once. What it holds grows with the messages under way
    alone; those finished behind one cost nothing here, but a crash repeats them: `behind`.
    """

    def __init__(self) -> None:
        self._partitions: dict[P, _Partition] = {}

    def __len__(self) -> int:
        """How many messages are under way."""
        return sum(len(partition.open) for partition in self._partitions.values())

    def behind(self) -> int:
        """How many offsets lie between the watermarks and the last messages that came."""
        return sum(entry.end - entry.watermark for entry in self._partitions.values())

    def opened(self, partition: P, offset: int) -> None:
        """A message was received. Gaps are fine (compacted or transaction records).

        Raises:
            ValueError: the offset is not beyond the last one of its partition.
        """
        entry = self._partitions.get(partition)
        if entry is None:
            entry = self._partitions[partition] = _Partition(first=offset)
        elif offset < entry.end:
            raise ValueError(f"offset {offset} of {partition} came after {entry.end - 1}")
        entry.end = offset + 1
        entry.open[offset] = None

    def done(self, partition: P, offset: int) -> None:
        """A message is finished; of a partition that was dropped since, it changes nothing."""
        if (entry := self._partitions.get(partition)) is not None:
            entry.open.pop(offset, None)

    def due(self) -> dict[P, int]:
        """The offset to commit of each partition where `committed` did not tell of that one yet.

        As Kafka wants it: the offset of the first message that is not done.
        """
        return {
            partition: at
            for partition, entry in self._partitions.items()
            if (at := entry.watermark) not in (entry.first, entry.committed)
        }

    def committed(self, partition: P, at: int) -> None:
        """That offset was committed; of a partition that was dropped since, it changes nothing."""
        if (entry := self._partitions.get(partition)) is not None:
            entry.committed = at

    def drop(self, partition: P) -> int | None:
        """Forget a partition that another consumer reads now; its watermark, if it moved."""
        entry = self._partitions.pop(partition, None)
        return entry.watermark if entry and entry.watermark != entry.first else None
