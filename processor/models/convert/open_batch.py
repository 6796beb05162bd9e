"""Make a copy of a model that takes several pictures in a call, if its results stay the same.

Many exports fix the batch dimension at 1 although their graph works for more. The copy is tried:
its outputs for two pictures together must equal those for each alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from processor.models.convert.rewrite import RewriteError, only_output

_DIMENSION = "batch"
# Float sums in another order differ by less; a model that mixes its pictures differs by far more.
_RELATIVE_TOLERANCE = 1e-4


def with_open_batch(data: bytes, output: str | None) -> bytes:
    """Return the model with its batch dimension open; if `output` is given, with that output only.

    Raises:
        RewriteError: it is no ONNX model, its shapes are not those of one picture, or two pictures
            together do not get the results of each alone; the message says which.
        runtime.ERRORS: the runtime cannot run the copy.
        MemoryError: two pictures need more memory than there is.
    """
    try:
        model = only_output(data, output) if output else onnx.load_model_from_string(data)
    except DecodeError as error:
        raise RewriteError(f"it is not an ONNX file: {error}") from error
    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    shapes = [one.type.tensor_type.shape for one in (*inputs, *model.graph.output)]
    for shape in shapes:
        if not shape.dim or shape.dim[0].dim_value not in (0, 1):
            raise RewriteError("an input or output of it has no batch dimension")
        shape.dim[0].dim_param = _DIMENSION
    # Shapes of inner tensors, which still have a batch of 1.
    model.graph.ClearField("value_info")
    opened = model.SerializeToString(deterministic=True)
    _check(_session(data), _session(opened), output)
    return opened


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _check(
    plain: onnxruntime.InferenceSession, opened: onnxruntime.InferenceSession, output: str | None
) -> None:
    [picture, *others] = plain.get_inputs()
    if others or picture.type != "tensor(float)" or len(picture.shape) != 4:
        raise RewriteError("its input is not one picture of float32")
    if not all(isinstance(size, int) for size in picture.shape):
        raise RewriteError(f"its input is {picture.shape}, not of a fixed size")
    names = [output] if output else [one.name for one in plain.get_outputs()]
    pictures = _pictures(picture.shape)
    together = opened.run(names, {picture.name: np.concatenate(pictures)})
    for row, one in enumerate(pictures):
        alone = plain.run(names, {picture.name: one})
        if not all(_same(many, single, row) for many, single in zip(together, alone, strict=True)):
            raise RewriteError("pictures together do not give what each gives alone")


def _pictures(shape: Sequence[int]) -> list[NDArray[np.float32]]:
    """Return two pictures that differ in structure and range: noise, and a slope."""
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    slope = np.linspace(0, 0.5, noise.size, dtype=np.float32).reshape(shape)
    return [noise, slope]


def _same(together: NDArray[Any], alone: NDArray[Any], row: int) -> bool:
    if together.shape != (2, *alone.shape[1:]):
        return False
    allowed = _RELATIVE_TOLERANCE * max(float(np.ptp(alone)), 1e-3)
    return bool(np.allclose(together[row : row + 1], alone, rtol=_RELATIVE_TOLERANCE, atol=allowed))
