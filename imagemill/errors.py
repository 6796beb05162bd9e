"""The base of errors whose text alone is shown to the person at the command line."""

from __future__ import annotations


class OperatorError(Exception):
    """A state of this machine or its set-up; the text says what is wrong and what to do."""
