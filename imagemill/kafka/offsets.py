"""The offsets in flight and the commit watermark, for messages that are done in any order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    """`first` is the offset that reading began at, `end` the one behind the last message."""

    first: int
    end: int
    # A dict for its order, which is that of the offsets.
    in_flight: dict[int, None] = field(default_factory=dict)
    committed: int | None = None

    @property
    def watermark(self) -> int:
        return next(iter(self.in_flight), self.end)


class OffsetTracker(Generic[P]):
    """The commit watermark of each partition: every message below it is done.

    Nothing is committed past a message in flight, so a message that is lost in a crash is read
    again. Memory grows with the messages in flight alone. Messages done above the watermark cost
    none, but a crash repeats them: `behind`.

    Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._partitions: dict[P, _Partition] = {}

    def __len__(self) -> int:
        """Number of messages in flight."""
        return sum(len(partition.in_flight) for partition in self._partitions.values())

    def in_flight(self, partition: P) -> int:
        """Number of messages of the partition in flight."""
        known = self._partitions.get(partition)
        return len(known.in_flight) if known is not None else 0

    def behind(self) -> int:
        """Number of offsets between the watermarks and the last messages received."""
        return sum(known.end - known.watermark for known in self._partitions.values())

    def start(self, partition: P, offset: int) -> None:
        """Track a partition that is read from `offset` on; earlier state of it is void."""
        self._partitions[partition] = _Partition(first=offset, end=offset)

    def opened(self, partition: P, offset: int) -> None:
        """Note a message that was received. Gaps are fine (compaction, transaction markers).

        A partition that was not started begins at this offset.

        Raises:
            ValueError: the offset is not beyond the last one of its partition.
        """
        known = self._partitions.get(partition)
        if known is None:
            known = self._partitions[partition] = _Partition(first=offset, end=offset)
        elif offset < known.end:
            raise ValueError(f"offset {offset} of {partition} came after {known.end - 1}")
        known.end = offset + 1
        known.in_flight[offset] = None

    def done(self, partition: P, offset: int) -> None:
        """Note a message that is done; no effect on a partition that was dropped since."""
        if (known := self._partitions.get(partition)) is not None:
            known.in_flight.pop(offset, None)

    def skip_to(self, partition: P, offset: int) -> None:
        """Let the watermark pass the offsets before `offset`, which the log lacks."""
        if (known := self._partitions.get(partition)) is not None:
            known.end = max(known.end, offset)

    def due(self) -> dict[P, int]:
        """Return the offset to commit of each partition whose watermark moved since its commit.

        It is what Kafka expects: the offset of the first message that is not done.
        """
        return {
            partition: at
            for partition, known in self._partitions.items()
            if (at := known.watermark) not in (known.first, known.committed)
        }

    def committed(self, partition: P, at: int) -> None:
        """Note a commit; no effect on a partition that was dropped since."""
        if (known := self._partitions.get(partition)) is not None:
            known.committed = at

    def drop(self, partition: P) -> int | None:
        """Forget a partition that another consumer reads now; return its watermark if it moved."""
        known = self._partitions.pop(partition, None)
        return known.watermark if known and known.watermark != known.first else None
