"""The error whose text is the sentence a user reads."""

from __future__ import annotations


class LocalError(Exception):
    """Something on this machine keeps imagemill from running; the text says what to do."""
