"""The offsets in flight and the commit watermark, for messages that are done in any order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from imagemill.kafka.offset_set import OffsetSet

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    """`first` is the offset that reading began at, `end` the one behind the last message."""

    first: int
    end: int
    # A dict for its order, which is that of the offsets.
    in_flight: dict[int, None] = field(default_factory=dict)
    committed: int | None = None
    # Offsets at or beyond `end` of messages in flight that were received ahead of their turn.
    ahead: set[int] = field(default_factory=set)
    # Offsets beyond the watermark that are done; None until a message is received ahead.
    done: OffsetSet | None = None
    # Numbers of changes of `done`: all so far, those in `due` last, those committed.
    changes: int = 0
    due_changes: int = 0
    committed_changes: int = 0

    @property
    def watermark(self) -> int:
        return next(iter(self.in_flight), self.end)

    def move_end(self, end: int) -> None:
        """Move `end` on; messages before it that were received ahead are ordinary ones now."""
        self.end = end
        if self.ahead:
            for offset in sorted(offset for offset in self.ahead if offset < end):
                self.ahead.remove(offset)
                self.in_flight[offset] = None


class OffsetTracker(Generic[P]):
    """The commit watermark of each partition: every message below it is done.

    Nothing is committed past a message in flight, so a message that is lost in a crash is read
    again. Memory grows with the messages in flight alone. Messages done above the watermark cost
    none, but a crash repeats them: `behind`.

    Messages may also be received ahead, before those that precede them in the log: `opened_ahead`.
    From then on the tracker keeps which offsets beyond the watermark are done, one bit each, until
    the watermark has passed them. They belong into the metadata of the commits: a successor that
    starts with them repeats none.

    Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._partitions: dict[P, _Partition] = {}

    def __len__(self) -> int:
        """Number of messages in flight."""
        return sum(len(each.in_flight) + len(each.ahead) for each in self._partitions.values())

    def in_flight(self, partition: P) -> int:
        """Number of messages of the partition in flight, without those received ahead."""
        known = self._partitions.get(partition)
        return len(known.in_flight) if known is not None else 0

    def behind(self) -> int:
        """Number of offsets between the watermarks and the last messages received."""
        return sum(known.end - known.watermark for known in self._partitions.values())

    def start(self, partition: P, offset: int, done: OffsetSet | None = None) -> None:
        """Track a partition that is read from `offset` on; earlier state of it is void.

        Args:
            done: offsets beyond `offset` that are done already, by the metadata of the commit.
        """
        known = self._partitions[partition] = _Partition(first=offset, end=offset)
        if done is not None:
            done.forget_below(offset)
            known.done = done or None

    def opened(self, partition: P, offset: int) -> bool:
        """Note a message that was received. Gaps are fine (compaction, transaction markers).

        A partition that was not started begins at this offset.

        Returns:
            False for a message that was received ahead: it is done, or in flight, already.

        Raises:
            ValueError: the offset is not beyond the last one of its partition.
        """
        known = self._partitions.get(partition)
        if known is None:
            known = self._partitions[partition] = _Partition(first=offset, end=offset)
        elif offset < known.end:
            raise ValueError(f"offset {offset} of {partition} came after {known.end - 1}")
        if known.done is not None:
            is_ahead = offset in known.ahead
            known.move_end(offset + 1)
            if is_ahead or offset in known.done:
                return False
        known.end = offset + 1
        known.in_flight[offset] = None
        return True

    def opened_ahead(self, partition: P, offset: int) -> bool:
        """Note a message that was received before those that precede it in the log.

        Returns:
            False if it is none: the partition is not tracked, or the message was received before.
        """
        known = self._partitions.get(partition)
        if known is None or offset < known.end or offset in known.ahead:
            return False
        if known.done is None:
            known.done = OffsetSet()
        elif offset in known.done:
            return False
        known.ahead.add(offset)
        return True

    def done(self, partition: P, offset: int) -> None:
        """Note a message that is done; no effect on a partition that was dropped since."""
        known = self._partitions.get(partition)
        if known is None:
            return
        if known.done is None:
            known.in_flight.pop(offset, None)
            return
        if offset in known.ahead:
            known.ahead.remove(offset)
        elif offset in known.in_flight:
            del known.in_flight[offset]
        else:
            return
        known.done.add(offset)
        known.changes += 1

    def done_beyond(self, partition: P) -> OffsetSet:
        """Return the offsets beyond the watermark that are done, as far as they are known.

        They are known from the first message on that was received ahead, until none is in flight
        or done any more.
        """
        known = self._partitions.get(partition)
        if known is None or known.done is None:
            return OffsetSet()
        done = known.done
        done.forget_below(known.watermark)
        if not done and not known.ahead:
            known.done = None
        return done

    def distance(self, partition: P, offset: int) -> int:
        """Number of offsets from the partition's watermark to `offset`."""
        known = self._partitions.get(partition)
        return offset - known.watermark if known is not None else 0

    def skip_to(self, partition: P, offset: int) -> None:
        """Let the watermark pass the offsets before `offset`, which the log lacks."""
        if (known := self._partitions.get(partition)) is not None:
            known.move_end(max(known.end, offset))

    def due(self) -> dict[P, int]:
        """Return the offset to commit of each partition whose watermark moved since its commit.

        It is what Kafka expects: the offset of the first message that is not done. Partitions in
        which a message that was received ahead is done since are due too, for their metadata.
        """
        due = {}
        for partition, known in self._partitions.items():
            at = known.watermark
            if at not in (known.first, known.committed) or known.changes != known.committed_changes:
                due[partition] = at
                known.due_changes = known.changes
        return due

    def committed(self, partition: P, at: int) -> None:
        """Note a commit of what was due last; no effect on a partition that was dropped since."""
        if (known := self._partitions.get(partition)) is not None:
            known.committed = at
            known.committed_changes = known.due_changes

    def drop(self, partition: P) -> int | None:
        """Forget a partition that another consumer reads now; return its watermark if it moved."""
        known = self._partitions.pop(partition, None)
        return known.watermark if known and known.watermark != known.first else None
