"""Operations of tests: one crashes, hangs or eats memory as its params say, one measures."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from processor.operations.base import Output
from schemas.operations import NoParams, OperationSpec

_MEETING_S = 30.0


class MisbehaveParams(BaseModel):
    """What to do; `folder` is where two items that meet look for each other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    how: Literal["well", "killed", "segfault", "hang", "hang_in_c", "eat", "raise", "meet"] = "well"
    folder: str = ""


MISBEHAVE = OperationSpec(
    name="misbehave",
    summary="Do as the params say",
    params=MisbehaveParams,
    run="tests.support.misbehave:run",
    inputs="none",
)

MEASURE = OperationSpec(
    name="measure",
    summary="Tell the picture's size",
    params=NoParams,
    run="tests.support.misbehave:measure",
)


def measure(image: Any, params: NoParams, context: Any) -> Output:
    """Width and height of the picture as this operation gets it."""
    return Output(data={"width": image.width, "height": image.height})


def run(image: Any, params: MisbehaveParams, context: Any) -> Output:
    """The process's id, unless the params say otherwise."""
    if params.how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif params.how == "segfault":
        ctypes.string_at(0)
    elif params.how == "hang":
        threading.Event().wait()
    elif params.how == "hang_in_c":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Event().wait()
    elif params.how == "eat":
        bytearray(1 << 34)
    elif params.how == "raise":
        raise LookupError("some secret")
    elif params.how == "meet":
        _meet(Path(params.folder))
    return Output(data={"pid": os.getpid()})


def _meet(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + _MEETING_S
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.01)


def register(folder: Path) -> None:
    """Make `folder`, when it is on sys.path, hold a package that registers the operations."""
    info = folder / "misbehave-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehave\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[imagemill.operations]\n"
        "misbehave = tests.support.misbehave:MISBEHAVE\n"
        "measure = tests.support.misbehave:MEASURE\n"
    )
