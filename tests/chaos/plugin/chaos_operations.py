"""Operations for the tests of guarantees, found by workers through their entry points."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from imagemill.operations import Output
from schemas.operations import NoParams, OperationSpec


class NapParams(BaseModel):
    """Params of nap; seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seconds: float = 0.05


def nap(_image: Any, params: NapParams, _context: Any) -> Output:
    """Sleep in an inference process, without using its CPU."""
    time.sleep(params.seconds)
    return Output(data={"slept_s": params.seconds})


def halve(image: Any, _params: NoParams, _context: Any) -> Output:
    """Reduce the image to half its size."""
    return Output(image=image.reduce(2))


NAP = OperationSpec("nap", "Take a while.", NapParams, "chaos_operations:nap", inputs="none")
HALVE = OperationSpec("halve", "Half the size.", NoParams, "chaos_operations:halve")


def _lose_messages(share: float) -> None:
    """Make the consumer lose that share of the batches that it fetched."""
    from processor.faust_fixes.consumer import HardenedConsumer

    fetched = HardenedConsumer.getmany
    chance = random.Random(7)

    async def getmany(self: Any, timeout: float) -> AsyncIterator[Any]:
        async for tp, message in fetched(self, timeout):
            if self._is_changelog_tp(tp) or chance.random() >= share:
                yield tp, message

    HardenedConsumer.getmany = getmany


# Only in the worker: the inference processes import this module too, but not Faust.
if "CHAOS_LOSS" in os.environ and "faust" in sys.modules:
    _lose_messages(float(os.environ["CHAOS_LOSS"]))
