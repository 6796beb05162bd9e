"""Operations of tests: one crashes, hangs or uses up memory by its params, others measure."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from imagemill.operations import Output
from schemas.catalog import operations
from schemas.operations import NoParams, OperationSpec

_MEETING_S = 30.0


class MisbehaveParams(BaseModel):
    """The misbehaviour; for `meet`, a `folder` in which two items wait for each other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    how: Literal[
        "well", "killed", "segfault", "hang", "hang_in_c", "eat", "raise", "exit", "meet"
    ] = "well"
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
    summary="Measure the picture's size",
    params=NoParams,
    run="tests.support.misbehave:measure",
)


class CountParams(BaseModel):
    """The model to run, and the misbehaviour before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "counting"
    how: Literal["well", "killed", "hang", "eat", "raise", "meet"] = "well"
    folder: str = ""


COUNT = OperationSpec(
    name="count",
    summary="Count the pictures that the model got at once",
    params=CountParams,
    run="tests.support.misbehave:count",
    batch_by=("model",),
)


def count(image: Any, params: CountParams, context: Any) -> Output:
    """Return the process's id, the size of the model's batch, and the mean of this picture."""
    misbehave(params.how, params.folder)
    session = context.models.session(params.model)
    context.used_models.append(session.used)
    small = np.asarray(image.convert("RGB").resize((4, 4)), np.float32)
    together, mean = session.run(small.transpose(2, 0, 1)[None])[0].tolist()
    return Output(data={"pid": os.getpid(), "together": int(together), "mean": round(mean)})


def measure(image: Any, params: NoParams, context: Any) -> Output:
    """Return width and height of the picture as the operation gets it."""
    return Output(data={"width": image.width, "height": image.height})


def run(image: Any, params: MisbehaveParams, context: Any) -> Output:
    """Misbehave as the params say, else return the process's id."""
    misbehave(params.how, params.folder)
    return Output(data={"pid": os.getpid()})


def misbehave(how: str, folder: str) -> None:
    """Crash, hang, use up memory, raise, exit or wait for another item; for `well`, do nothing."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "hang":
        threading.Event().wait()
    elif how == "hang_in_c":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Event().wait()
    elif how == "eat":
        bytearray(1 << 34)
    elif how == "raise":
        raise LookupError("some secret")
    elif how == "exit":
        sys.exit(3)
    elif how == "meet":
        _meet(Path(folder))


def _meet(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + _MEETING_S
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.01)


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Install a package that registers the operations into `folder`, until the block ends.

    The processes of pools that are started meanwhile have it too.
    """
    import pytest  # here, since the memory of the pools' processes is limited

    info = folder / "misbehave-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehave\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[imagemill.operations]\n"
        "misbehave = tests.support.misbehave:MISBEHAVE\n"
        "measure = tests.support.misbehave:MEASURE\n"
        "count = tests.support.misbehave:COUNT\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        # The list of operations is cached, without these ones.
        operations.cache_clear()
        yield
    operations.cache_clear()
