"""The error of the local system; users read its text."""

from __future__ import annotations


class LocalError(Exception):
    """This machine keeps imagemill from running; the text says why and what to do."""
