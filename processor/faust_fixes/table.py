"""A table whose changelog is sent and awaited by the agent, and a monitor that does not count."""

from __future__ import annotations

from typing import Any

import faust
from faust.sensors.monitor import Monitor


class HardenedTable(faust.Table):
    """A table that does not write its changelog itself.

    Stock: the changelog is fire and forget (send_soon), and the flush before a commit gives up
    after 0.1 s without progress: updates are lost though their events are committed. Here the
    agent sends the changelog record itself and awaits its delivery before the ack.
    """

    def on_key_set(self, key: Any, value: Any) -> None:
        """Only tell the sensors."""
        self._sensor_on_set(self, key, value)

    def on_key_del(self, key: Any) -> None:
        """Only tell the sensors."""
        self._sensor_on_del(self, key)


def _uncounted(self: Any, *args: Any, **kwargs: Any) -> None:
    return None


class QuietMonitor(Monitor):
    """Faust's monitor without its statistics per message, which cost a third of the CPU."""

    on_message_in = on_message_out = _uncounted
    on_stream_event_in = on_stream_event_out = _uncounted
    on_send_initiated = on_send_completed = _uncounted
    on_table_get = on_table_set = on_table_del = _uncounted
    track_tp_end_offset = _uncounted
