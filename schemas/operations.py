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
    """One operation as every service sees it: its name, its params, and where its code is."""

    name: str
    """Name that a request chooses it by."""
    summary: str
    """One sentence for people."""
    params: type[BaseModel]
    """Model of its params; with `Strict` as base, it validates exactly as its JSON Schema says."""
    run: str
    """Function as "package.module:function"; the processor alone imports it, so that the API can
    validate params without loading a model runtime."""
    inputs: Literal["image", "none"] = "image"
    """Input of each item: an image, or none."""
    inline: bool = False
    """True runs it in the worker's event loop instead of a pool process; for microseconds only."""
    batch_by: tuple[str, ...] | None = None
    """Names of params that must be equal for items to share the calls of their models; None runs
    each item alone in its process. The function must then be safe to call from several threads at
    once. Name the params that choose the model, or that make an item much slower."""
