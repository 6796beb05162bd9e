"""Import the code of an operation, which its spec names as `module:function`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from schemas.operations import OperationSpec


def load_run(spec: OperationSpec) -> Callable[..., Any]:
    """Return the function that the spec names."""
    module, _, function = spec.run.partition(":")
    return getattr(import_module(module), function)


def load_hook(spec: OperationSpec, name: str) -> Callable[..., Any] | None:
    """Return the function `name` of the operation's module, or None if it has none."""
    return getattr(import_module(spec.run.partition(":")[0]), name, None)
