"""Server-sent events, line by line (WHATWG HTML, 9.2.6). No I/O."""

from __future__ import annotations

import json

from imagemill.client.documents import JobEvent


class EventParser:
    """Makes events of the lines of one connection; remembers the id to resume from."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._id: str | None = None
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: str) -> JobEvent | None:
        """Take the next line, without its end; return an event if it completes one."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def reconnected(self) -> None:
        """Drop the event that the end of a connection cut off."""
        self._id, self._name, self._data = self.last_id, "", []

    def _dispatch(self) -> JobEvent | None:
        name, data = self._name or "message", "\n".join(self._data)
        self.last_id = self._id
        self.reconnected()
        if not data:
            return None
        return JobEvent(id=self.last_id, name=name, data=json.loads(data))
