"""Operations for the tests of guarantees, found by workers through their entry points."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, ConfigDict

from processor.operations.base import Output
from schemas.operations import NoParams, OperationSpec


class NapParams(BaseModel):
    """How long to take, seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seconds: float = 0.05


def nap(_image: Any, params: NapParams, _context: Any) -> Output:
    """Take a while, in an inference process, without its CPU."""
    time.sleep(params.seconds)
    return Output(data={"slept_s": params.seconds})


def halve(image: Any, _params: NoParams, _context: Any) -> Output:
    """The picture at half its size."""
    return Output(image=image.reduce(2))


NAP = OperationSpec("nap", "Take a while.", NapParams, "chaos_operations:nap", inputs="none")
HALVE = OperationSpec("halve", "Half the size.", NoParams, "chaos_operations:halve")
