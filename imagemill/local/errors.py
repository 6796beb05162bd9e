"""The error of the local system; users read its text."""

from __future__ import annotations

from imagemill.errors import OperatorError


class LocalError(OperatorError):
    """This machine keeps imagemill from running; the text says why and what to do."""
