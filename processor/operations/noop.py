"""noop: do nothing, to measure the cost of everything around an operation."""

from __future__ import annotations

from typing import Any

from imagemill.operations import Output


def run(image: Any, params: Any, context: Any) -> Output:
    """Return an empty output; needs no image."""
    return Output()
