"""Does nothing: for measuring what everything around an operation costs."""

from __future__ import annotations

from typing import Any

from processor.operations.base import Output


def run(image: Any, params: Any, context: Any) -> Output:
    """An empty output; takes no image."""
    return Output()
