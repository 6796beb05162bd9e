"""Errors of the read model; producer_api/http/problems.py says how each is answered."""

from __future__ import annotations


class ReadModelBehind(Exception):
    """The read model did not catch up with the topics in time; trying again helps."""

    def __init__(self) -> None:
        super().__init__(
            "The server is still reading its topics and cannot tell yet. Try again shortly."
        )


class InvalidCursor(ValueError):
    """A page cursor that this API did not hand out."""
