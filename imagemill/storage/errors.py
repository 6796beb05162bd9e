"""What can go wrong with an object store."""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of an object store; the text is a sentence for the operator."""


class ObjectNotFound(StoreError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the object store has no {key}")
        self.key = key


class StoreUnavailable(StoreError):
    """The store could not be reached or refused; trying again later may help."""


class InvalidKey(StoreError, ValueError):
    """A key that no store takes."""
