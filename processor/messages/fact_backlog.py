"""The facts of this worker that its own tracker has not read yet."""

from __future__ import annotations

from faust.types import TP

from processor.messages.admission import Admission

# More facts than this are a backlog if some of them are in memory, and so wait for nothing but the
# event loop's time; and more than that wherever they are.
_FEW = 16
_MANY = 1000


class FactBacklog:
    """Follows the facts from their delivery to the tracker.

    Inline items end faster than the tracker reads their facts. So without a limit a job's end waits
    for seconds among the facts of a backlog of such items (bench shares).
    """

    def __init__(self, admission: Admission, topic: str) -> None:
        """`topic` is that of the facts."""
        self._admission = admission
        self._topic = topic
        # Offset behind the newest delivered fact, by partition.
        self._ends: dict[int, int] = {}

    def delivered(self, partition: int, offset: int) -> None:
        """Note a fact that is in the log."""
        self._ends[partition] = offset + 1

    @property
    def is_long(self) -> bool:
        """True while the tracker should get the event loop's time, and not the next items.

        Facts in partitions that another worker tracks are not counted.
        """
        waiting = in_memory = 0
        for partition, end in self._ends.items():
            tp = TP(self._topic, partition)
            expected = self._admission.expected(tp)
            if expected is not None and end > expected:
                waiting += end - expected
                in_memory += self._admission.received(tp)
        return waiting > _MANY or (waiting > _FEW and in_memory > 0)
