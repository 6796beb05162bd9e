"""Small ONNX detectors whose outputs are written down by the test, whatever the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from processor.models.manifest import ModelInput
from processor.operations.detection.detector import Detector, facts_of


def constant_model(
    input_shape: Sequence[int | str],
    outputs: Mapping[str, NDArray],
    metadata: Mapping[str, str] | None = None,
    *,
    open_shapes: bool = False,
    input_type: int = TensorProto.FLOAT,
) -> bytes:
    """A model that answers every picture with these outputs."""
    nodes = []
    for name, value in outputs.items():
        nodes += [
            helper.make_node(
                "Constant", [], [f"{name}_value"], value=numpy_helper.from_array(value)
            ),
            # The output depends on the input, as a real one does, so that no input goes unused.
            helper.make_node("Cast", ["images"], [f"{name}_cast"], to=_type(value)),
            helper.make_node("ReduceMax", [f"{name}_cast"], [f"{name}_max"], keepdims=0),
            helper.make_node("Sub", [f"{name}_max", f"{name}_max"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_value", f"{name}_zero"], [name]),
        ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", input_type, list(input_shape))],
        [
            helper.make_tensor_value_info(
                name, _type(value), [None] * value.ndim if open_shapes else list(value.shape)
            )
            for name, value in outputs.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_detector(model: bytes | str, declared: ModelInput | None = None) -> Detector:
    """The detector of a model file or its bytes, run by onnxruntime alone."""
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    return Detector(facts_of(session), declared, lambda inputs: session.run(None, dict(inputs)))


def _type(value: NDArray) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
