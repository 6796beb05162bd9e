"""Operations that a test holds and fails, found by the services through their entry points."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from imagemill.operations import Output
from schemas.operations import OperationSpec

OPEN = "open"


class HoldParams(BaseModel):
    """The folder with the tokens (tests/acceptance/support/tokens.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: str


class StumbleParams(BaseModel):
    """Manner in which the first `times` attempts fail; `folder` has a file for each attempt."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: str
    how: Literal["killed", "hang"]
    times: int


HOLD = OperationSpec(
    "hold", "Give the picture back once there is a token.", HoldParams, "acceptance_operations:hold"
)
STUMBLE = OperationSpec(
    "stumble", "Fail some times, then succeed.", StumbleParams, "acceptance_operations:stumble",
    inputs="none",
)  # fmt: skip


def hold(image: Any, params: HoldParams, _context: Any) -> Output:
    """Take a token and give the picture back; wait until there is one, or until all may pass."""
    folder = Path(params.folder)
    while not _may_pass(folder):
        time.sleep(0.01)
    return Output(image=image)


def _may_pass(folder: Path) -> bool:
    for token in folder.iterdir():
        if token.name == OPEN:
            return True
        try:
            token.unlink()
        except FileNotFoundError:
            continue  # another process took it
        return True
    return False


def stumble(_image: Any, params: StumbleParams, _context: Any) -> Output:
    """Die or hang in the first `times` attempts; then return the number of the attempt."""
    folder = Path(params.folder)
    attempt = len(list(folder.iterdir())) + 1
    (folder / str(attempt)).touch()
    if attempt <= params.times:
        if params.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            time.sleep(60)
    return Output(data={"attempt": attempt})
