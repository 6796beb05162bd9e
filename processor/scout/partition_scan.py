"""The state of the scout in one partition: what it has seen, taken and skipped. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# A rescan that is this close to the frontier reads on instead of a seek, offsets.
_NEAR_OFFSETS = 1000

Owner = str | None


@dataclass(slots=True)
class PartitionScan:
    """A scan of a partition, from the consumer's position to the end of the log and back.

    The scan sees every message once on the way to the end, and takes those that are wanted. Of an
    owner whose messages were not wanted then it keeps a single offset, to come back to: a pass. So
    its memory grows with the owners, not with the messages. The messages of an owner are taken in
    the order of the log.
    """

    position: int
    """Offset to read next."""
    frontier: int = field(init=False)
    """Offset behind the last message that was ever seen."""
    skipped_from: dict[Owner, int] = field(default_factory=dict)
    """Of owners with messages before the frontier that were not taken: those before are taken."""
    _pass_start: int | None = None
    # Owners of which a message was not taken in this pass: later ones of theirs must wait, too.
    _refused: set[Owner] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.frontier = self.position

    @property
    def in_pass(self) -> bool:
        """True while messages are read that were skipped before."""
        return self._pass_start is not None

    def offer(self, owner: Owner, offset: int, wanted: Callable[[Owner], bool]) -> bool:
        """Note a message that was read; return whether to take it.

        Args:
            wanted: whether messages of an owner may be taken.
        """
        if self._pass_start is None and offset >= self.frontier and owner in self.skipped_from:
            # The way of nearly all messages, short for that.
            self.position = self.frontier = offset + 1
            return False
        if offset < self.position:
            return False
        if offset >= self.frontier:
            self._end_pass()
        taken = self._takes(owner, offset, wanted)
        self.position = offset + 1
        self.frontier = max(self.frontier, self.position)
        if self.position == self.frontier:
            self._end_pass()
        return taken

    def _takes(self, owner: Owner, offset: int, wanted: Callable[[Owner], bool]) -> bool:
        skipped = self.skipped_from.get(owner)
        if self._pass_start is None:
            if skipped is not None or offset < self.frontier:
                return False
            if not wanted(owner):
                self.skipped_from[owner] = offset
                return False
            return True
        if skipped is None or not self._pass_start <= skipped <= offset or owner in self._refused:
            return False
        if wanted(owner):
            self.skipped_from[owner] = offset + 1
            return True
        self.skipped_from[owner] = offset
        self._refused.add(owner)
        return False

    def next_seek(
        self, expected: int, wanted: Callable[[Owner], bool], *, may_begin: bool
    ) -> int | None:
        """Decide where to read next: return the offset to seek to, None to read on.

        Args:
            expected: offset that the consumer itself reads next; those before it need no scout.
            may_begin: whether a pass may begin.
        """
        if self._pass_start is not None:
            if self._has_wanted(wanted) or self.frontier - self.position < _NEAR_OFFSETS:
                return None
            # The pass has all that it wanted.
            self._pass_start = None
            self._refused.clear()
            self.position = self.frontier
            return self.position
        if expected > self.position + _NEAR_OFFSETS:
            self.position = expected
            self.frontier = max(expected, self.frontier)
            return self.position
        starts = [at for owner, at in self.skipped_from.items() if wanted(owner)]
        if not starts or not may_begin:
            return None
        return self._begin_pass(max(min(starts), expected), expected)

    def _begin_pass(self, start: int, expected: int) -> int | None:
        for owner, at in self.skipped_from.items():
            self.skipped_from[owner] = max(at, expected)
        self._pass_start = start
        if start >= self.frontier:
            # The consumer itself has read all that was skipped.
            self._end_pass()
            return None
        self.position = start
        return start

    def _has_wanted(self, wanted: Callable[[Owner], bool]) -> bool:
        return any(
            wanted(owner)
            for owner, at in self.skipped_from.items()
            if owner not in self._refused and self._pass_start <= at < self.frontier
        )

    def _end_pass(self) -> None:
        """Forget the owners of whom the pass has taken everything up to the frontier."""
        if self._pass_start is None:
            return
        for owner, at in list(self.skipped_from.items()):
            if at >= self._pass_start and owner not in self._refused:
                del self.skipped_from[owner]
        self._pass_start = None
        self._refused.clear()
