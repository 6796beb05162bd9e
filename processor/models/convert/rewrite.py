"""Rewrite a graph without changing its function: fewer outputs, fixed shapes, centred channels.

Centring makes bfloat16 usable for u2netp. One of its channels is almost constant at 226, where
neighbouring bfloat16 values are 1 apart, and the next convolution's bias subtracts the 226 again:
the digits that rounding loses are those that hold the picture. `centre` computes relu(z) - K for
such a channel and adds conv(K) to the next convolution's bias. At the zero padding conv(K) is
smaller, so the bias becomes a map of the picture's size. The function is the same for every K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Constants = Mapping[str, Mapping[int, float]]
"""By the name of a ReLU node: the constant K of each channel to centre."""


class RewriteError(ValueError):
    """The graph lacks a part that the rewrite needs; the message names it."""


def only_output(data: bytes, output: str | None) -> onnx.ModelProto:
    """Return the model with one output (None: its first), without nodes that only others need.

    Raises:
        RewriteError: not an ONNX model, or it has no such output.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise RewriteError(f"it is not an ONNX file: {error}") from error
    chosen = [one for one in model.graph.output if output in (None, one.name)][:1]
    if not chosen:
        raise RewriteError(f"it has no output {output!r}")
    _replace(model.graph, "output", chosen)
    _drop_unused(model.graph)
    return model


def fix_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with constant sizes for every resize, and the shape of every tensor.

    Exporters compute these sizes in the graph from the shapes of other tensors. The graph is run
    once, on its fixed input shape, to get the numbers.

    Raises:
        RewriteError: the input's shape is not fixed.
    """
    sizes = sorted({node.input[3] for node in _resizes(model.graph)})
    known = _measured(model, sizes)
    fixed = [numpy_helper.from_array(array, f"{name}_fixed") for name, array in known.items()]
    model.graph.initializer.extend(fixed)
    for node in _resizes(model.graph):
        node.input[3] = f"{node.input[3]}_fixed"
    _drop_unused(model.graph)
    model.graph.ClearField("value_info")
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def centre(model: onnx.ModelProto, constants: Constants) -> onnx.ModelProto:
    """Return the model with these channels centred; fix_shapes() must have run before.

    Raises:
        RewriteError: a ReLU or channel does not exist, or a centred channel reaches a node in
            which the constant cannot be given back.
    """
    missing = constants.keys() - {n.name for n in model.graph.node if n.op_type == "Relu"}
    if missing:
        raise RewriteError(f"it has no ReLU {', '.join(sorted(missing))}")
    return _Centring(model, constants).rewritten()


class _Centring:
    """One pass over the nodes that tracks how far each tensor is from its original value."""

    def __init__(self, model: onnx.ModelProto, constants: Constants) -> None:
        self._model = model
        self._constants = constants
        self._weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        graph = model.graph
        self._shapes = {
            one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
            for one in (*graph.value_info, *graph.input, *graph.output)
        }
        self._renamed: dict[str, str] = {}
        self._offsets: dict[str, NDArray[np.float64]] = {}
        self._added: list[onnx.TensorProto] = []

    def rewritten(self) -> onnx.ModelProto:
        nodes = [new for node in self._model.graph.node for new in self._rewrite(node)]
        off = [one.name for one in self._model.graph.output if one.name in self._renamed]
        if off:
            raise RewriteError(f"the output {off[0]} is itself centred")
        _replace(self._model.graph, "node", nodes)
        self._model.graph.initializer.extend(self._added)
        self._model.graph.ClearField("value_info")
        _drop_unused(self._model.graph)
        onnx.checker.check_model(self._model)
        return onnx.shape_inference.infer_shapes(self._model, strict_mode=True)

    def _rewrite(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        for index, name in enumerate(node.input):
            node.input[index] = self._renamed.get(name, name)
        offsets = [self._offsets.get(name) for name in node.input]
        output = node.output[0]
        if node.op_type == "Relu" and node.name in self._constants:
            if offsets[0] is not None:
                raise RewriteError(f"{node.name} gets a centred input")
            yield node
            yield self._subtract(node)
        elif all(offset is None for offset in offsets):
            yield node
        elif node.op_type == "Conv":
            yield from self._convolution(node, offsets[0])
        else:
            self._offsets[output] = self._carried(node, offsets)
            yield node

    def _subtract(self, node: onnx.NodeProto) -> onnx.NodeProto:
        output = node.output[0]
        offset = np.zeros(self._shapes[output][1])
        for channel, constant in self._constants[node.name].items():
            if channel >= len(offset):
                raise RewriteError(f"{node.name} has no channel {channel}")
            # The constant subtracted here and the one given back must be the same float32.
            offset[channel] = np.float32(constant)
        centred = f"{output}_centred"
        self._renamed[output] = centred
        self._offsets[centred] = offset
        constants = self._constant(f"{output}_offset", -offset.reshape(1, -1, 1, 1))
        return helper.make_node("Add", [output, constants], [centred], f"{node.name}_centre")

    def _carried(
        self, node: onnx.NodeProto, offsets: list[NDArray[np.float64] | None]
    ) -> NDArray[np.float64]:
        """Return the output's offset from its original value, given those of the inputs."""
        match node.op_type:
            case "Resize" | "MaxPool" if offsets[0] is not None:
                return offsets[0]
            case "Concat" | "Add":
                whole = [
                    np.zeros(self._shapes[name][1]) if offset is None else offset
                    for name, offset in zip(node.input, offsets, strict=True)
                ]
                return (
                    np.concatenate(whole) if node.op_type == "Concat" else sum(whole[1:], whole[0])
                )
            case _:
                raise RewriteError(f"{node.name} ({node.op_type}) gets a centred input")

    def _convolution(
        self, node: onnx.NodeProto, offset: NDArray[np.float64] | None
    ) -> Iterator[onnx.NodeProto]:
        """Yield the convolution without bias, and the addition of the map that replaces it."""
        facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        output = node.output[0]
        if offset is None or facts.get("group", 1) != 1 or set(facts.get("strides", [1])) != {1}:
            raise RewriteError(f"{node.name} is not a plain convolution of a centred input")
        weights = self._weights[node.input[1]].astype(np.float64)
        back = _of_constant(weights, offset, self._shapes[output][2:], facts)
        if len(node.input) > 2:
            back += self._weights[node.input[2]].astype(np.float64)[:, None, None]
        bare = f"{output}_bare"
        yield helper.make_node("Conv", list(node.input[:2]), [bare], node.name, **facts)
        given = self._constant(f"{output}_map", back[np.newaxis])
        yield helper.make_node("Add", [bare, given], [output], f"{node.name}_map")

    def _constant(self, name: str, value: NDArray[np.float64]) -> str:
        self._added.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name


def _of_constant(
    weights: NDArray[np.float64],
    offset: NDArray[np.float64],
    size: list[int],
    facts: Mapping[str, Any],
) -> NDArray[np.float64]:
    """Compute the zero-padded convolution of a picture that is `offset` everywhere."""
    height, width = size
    pads, dilations = facts.get("pads", [0] * 4), facts.get("dilations", [1, 1])
    taps = np.einsum("oikl,i->okl", weights, offset)
    result = np.zeros((weights.shape[0], height, width))
    for row, column in np.ndindex(*taps.shape[1:]):
        down = row * dilations[0] - pads[0]
        right = column * dilations[1] - pads[1]
        inside = (
            slice(max(0, -down), height - max(0, down)),
            slice(max(0, -right), width - max(0, right)),
        )
        result[:, *inside] += taps[:, row, column][:, None, None]
    return result


def _resizes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.node if node.op_type == "Resize" and len(node.input) == 4)


def _measured(model: onnx.ModelProto, names: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return the values of these integer tensors for the model's fixed input shape."""
    if not names:
        return {}
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    known = {one.name for one in copy.graph.initializer}
    wanted = [name for name in names if name not in known]
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in wanted]
    _replace(copy.graph, "output", outputs)
    _drop_unused(copy.graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=providers)
    [picture] = session.get_inputs()
    if not all(isinstance(dim, int) for dim in picture.shape):
        raise RewriteError(f"its input is {picture.shape}, not of a fixed shape")
    values = session.run(wanted, {picture.name: np.zeros(picture.shape, np.float32)})
    return dict(zip(wanted, values, strict=True))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove every node and constant that no output needs."""
    makers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    asked = [one.name for one in graph.output]
    # Some converters list nodes in no topological order, so the graph is walked by names.
    while asked:
        name = asked.pop()
        if name not in needed:
            needed.add(name)
            asked.extend(makers[name].input if name in makers else ())
    _replace(graph, "node", [node for node in graph.node if needed.intersection(node.output)])
    for field in ("initializer", "value_info"):
        _replace(graph, field, [one for one in getattr(graph, field) if one.name in needed])


def _replace(graph: onnx.GraphProto, field: str, items: list[Any]) -> None:
    # Clearing the field destroys its items, and `items` are usually some of them.
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    graph.ClearField(field)
    getattr(graph, field).extend(copies)
