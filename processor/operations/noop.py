"""Does nothing: for measuring what everything around an operation costs."""

from __future__ import annotations

from typing import Any

from imagemill.operations import Output


def run(image: Any, params: Any, context: Any) -> Output:
    """An empty output; takes no image."""
    return Output()
