"""Errors of object stores."""

from __future__ import annotations

from imagemill.errors import OperatorError


class StoreError(Exception):
    """Base of the errors of object stores; the text is a sentence for the operator."""


class ObjectNotFound(StoreError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the object store has no {key}")
        self.key = key


class StoreUnavailable(StoreError, OperatorError):
    """The store cannot be reached, or refuses; a later attempt may succeed."""


class InvalidKey(StoreError, ValueError):
    """A key that no store accepts."""
