"""The table: its changelog is sent and awaited by the tracker."""

from __future__ import annotations

from typing import Any

import faust


class HardenedTable(faust.Table):
    """A table that does not write its changelog itself.

    Stock: the changelog is fire and forget (send_soon), and the flush before a commit gives up
    after 0.1 s without progress: updates are lost though their events are committed. Here the
    tracker sends the changelog record itself and awaits its delivery before the ack.

    Needed for: safety (guarantee 1, link 4).
    """

    def on_key_set(self, key: Any, value: Any) -> None:
        """Inform the sensors only."""
        self._sensor_on_set(self, key, value)

    def on_key_del(self, key: Any) -> None:
        """Inform the sensors only."""
        self._sensor_on_del(self, key)
