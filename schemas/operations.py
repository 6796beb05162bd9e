"""What can be asked for: the table of operations and the models of their params."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Literal

from pydantic import BaseModel, ConfigDict

ENTRY_POINT_GROUP = "imagemill.operations"


class NoParams(BaseModel):
    """Params of an operation that takes none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class OperationSpec:
    """One operation as every service sees it.

    `run` names the function as "package.module:function"; only the processor imports it, so that
    the API can check params without loading a model runtime. `inline` work takes microseconds and
    runs in the worker's event loop instead of a pool process.

    `batch_by` allows dynamic batching: the function may then be called in several threads at once,
    for items whose params of these names are equal, and what their models are asked meanwhile is
    asked in one call. Name those that choose the model, or that make an item much slower. None: an
    item has its process to itself.
    """

    name: str
    summary: str
    params: type[BaseModel]
    run: str
    inputs: Literal["image", "none"] = "image"
    inline: bool = False
    batch_by: tuple[str, ...] | None = None


@cache
def operations() -> dict[str, OperationSpec]:
    """All operations by name: the built-in ones, then those of installed packages.

    Raises:
        ValueError: a package registers a name that is already taken.
    """
    from schemas.builtin import BUILTIN  # the params modules import this one

    table = {spec.name: spec for spec in BUILTIN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        spec = point.load()
        if spec.name in table:
            raise ValueError(f"operation {spec.name!r} of {point.value} is already registered")
        table[spec.name] = spec
    return table


def find_operation(name: str) -> OperationSpec | None:
    """The operation of that name, or None."""
    return operations().get(name)
