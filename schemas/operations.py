"""One operation as every service sees it; `schemas.catalog` has the table of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from schemas.base import Strict


class NoParams(Strict):
    """Params of an operation that takes none."""


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
