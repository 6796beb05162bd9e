"""Edges finer than the mask. PyMatting is compiled at its first use, which takes a while."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from imagemill.operations import OperationError, RunContext
from processor.models.loader import ModelLoader
from processor.operations.background import compiled, matting
from schemas.errors import ErrorCode
from tests.support.cutouts import (
    SUBJECT,
    brightness_loader,
    fresh_context,
    picture,
    pixels,
    result,
)

pytestmark = pytest.mark.longest


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelLoader:
    return brightness_loader(tmp_path_factory.mktemp("models"))


@pytest.fixture
def context(models: ModelLoader) -> RunContext:
    return fresh_context(models)


EDGES = [{"decontaminate": True}, {"alpha_matting": True, "alpha_matting_erode_size": 1}]


def test_half_transparent_pixels_lose_the_backgrounds_colour(context: RunContext) -> None:
    plain = np.asarray(pixels(result(context)))
    mended = np.asarray(pixels(result(context, decontaminate=True)))
    edge = plain[..., 3] > 60
    edge[SUBJECT[1] : SUBJECT[3], SUBJECT[0] : SUBJECT[2]] = False
    assert plain[edge][:, 0].max() == 0
    assert mended[edge][:, 0].min() > 100


@pytest.mark.parametrize("options", EDGES, ids=["decontaminate", "matting"])
@pytest.mark.parametrize("size", [(1, 1), (96, 1), (2, 64)])
def test_pictures_without_an_inside_are_cut_out_too(
    context: RunContext, options: dict[str, Any], size: tuple[int, int]
) -> None:
    image = pixels(result(context, picture().resize(size), **options))
    assert (image.mode, image.size) == ("RGBA", size)


def test_matting_without_a_solution_keeps_the_mask(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What PyMatting's own conjugate gradient does when it gives up.
    monkeypatch.setattr(compiled, "cg", functools.partial(compiled.cg, maxiter=0))
    output = result(context, **EDGES[1])
    assert pixels(output).tobytes() == pixels(result(context, decontaminate=True)).tobytes()


@pytest.mark.parametrize(
    ("limit", "options", "message"),
    [
        (
            "_MAX_UNKNOWN_PIXELS",
            {"alpha_matting": True},
            "pixels lie between the sure parts; the limit is 99",
        ),
        ("_MAX_COLOURED_PIXELS", {"decontaminate": True}, "of at most 99 pixels"),
    ],
)
def test_edges_that_need_too_much_memory_are_refused_with_the_reason(
    context: RunContext,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(matting, limit, 99)
    with pytest.raises(OperationError, match=message) as caught:
        result(context, **options)
    assert caught.value.error.code is ErrorCode.IMAGE_TOO_LARGE


def test_of_pymatting_only_what_edges_need_is_compiled() -> None:
    listing = (
        "import sys, processor.operations.background.compiled;"
        "print(*(name for name in sys.modules if name.startswith('pymatting')))"
    )
    environ = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", listing]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == [
        "pymatting.foreground.estimate_foreground_ml",
        "pymatting.laplacian.cf_laplacian",
        "pymatting.preconditioner.ichol",
        "pymatting.solver.cg",
    ]
