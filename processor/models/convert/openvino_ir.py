"""Write a graph of fixed shapes as OpenVINO IR, the only form in which single layers can be kept
in float32 while the rest is computed in bfloat16.

The mark is the attribute `precise`. MaxPool and Interpolate are written in their old versions
because the CPU plugin turns newer ones into these and forgets the mark on the way.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = "11"
_HEADER = b'<?xml version="1.0"?>\n'
_ELEMENTS = {"float32": ("f32", "FP32"), "int64": ("i64", "I64")}


class UnsupportedGraph(ValueError):
    """The graph has an operation, or a form of one, that is not written; the message names it."""


@dataclass(frozen=True)
class IrModel:
    """The two files of an IR; they lie beside each other as NAME.xml and NAME.bin."""

    xml: bytes
    weights: bytes


def write(model: onnx.ModelProto, bfloat16: Collection[str]) -> IrModel:
    """The model as IR in which only these convolutions, by their node names, may use bfloat16.

    Raises:
        UnsupportedGraph: the graph has something that is not written, or no such convolution.
    """
    writer = _Writer(model, frozenset(bfloat16))
    return writer.written()


class _Writer:
    def __init__(self, model: onnx.ModelProto, bfloat16: frozenset[str]) -> None:
        self._graph = model.graph
        self._bfloat16 = bfloat16
        self._root = ET.Element("net", name=model.graph.name or "model", version=IR_VERSION)
        self._layers = ET.SubElement(self._root, "layers")
        self._edges = ET.SubElement(self._root, "edges")
        self._weights = bytearray()
        self._count = 0
        # Where each tensor comes from: layer and port; and its shape.
        self._origin: dict[str, tuple[int, int]] = {}
        self._shape: dict[str, list[int]] = {
            one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
            for one in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }
        self._constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}

    def written(self) -> IrModel:
        missing = self._bfloat16 - {n.name for n in self._graph.node if n.op_type == "Conv"}
        if missing:
            raise UnsupportedGraph(f"there is no convolution {', '.join(sorted(missing))}")
        for one in self._graph.input:
            self._parameter(one)
        for node in self._graph.node:
            self._node(node)
        for one in self._graph.output:
            self._layer(f"{one.name}/result", "Result", "opset1", {}, [one.name], None)
        return IrModel(_HEADER + ET.tostring(self._root), bytes(self._weights))

    def _parameter(self, one: onnx.ValueInfoProto) -> None:
        if one.type.tensor_type.elem_type != TensorProto.FLOAT or 0 in self._shape[one.name]:
            raise UnsupportedGraph(f"the input {one.name} is not float32 of a fixed shape")
        data = {"shape": _listed(self._shape[one.name]), "element_type": "f32"}
        self._layer(one.name, "Parameter", "opset1", data, [], one.name)

    def _node(self, node: onnx.NodeProto) -> None:
        facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        name, output = node.name, node.output[0]
        match node.op_type:
            case "Constant":
                self._constants[output] = numpy_helper.to_array(facts["value"])
            case "Conv":
                self._convolution(node, facts)
            case "Relu" | "Sigmoid":
                kind = "ReLU" if node.op_type == "Relu" else "Sigmoid"
                self._layer(name, kind, "opset1", {}, list(node.input), output)
            case "Add":
                data = {"auto_broadcast": "numpy"}
                self._layer(name, "Add", "opset1", data, list(node.input), output)
            case "Concat":
                data = {"axis": str(facts["axis"])}
                self._layer(name, "Concat", "opset1", data, list(node.input), output)
            case "MaxPool":
                self._layer(name, "MaxPool", "opset1", _pool(node, facts), list(node.input), output)
            case "Resize":
                self._interpolate(node, facts)
            case _:
                raise UnsupportedGraph(f"{name} is a {node.op_type}")

    def _convolution(self, node: onnx.NodeProto, facts: dict[str, Any]) -> None:
        if facts.get("group", 1) != 1 or facts.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise UnsupportedGraph(f"{node.name} is grouped or pads by itself")
        pads = facts.get("pads", [0] * 4)
        data = {
            "strides": _listed(facts.get("strides", [1, 1])),
            "dilations": _listed(facts.get("dilations", [1, 1])),
            "pads_begin": _listed(pads[:2]),
            "pads_end": _listed(pads[2:]),
            "auto_pad": "explicit",
        }
        output = node.output[0]
        bare = f"{output}/without_bias" if len(node.input) > 2 else output
        self._shape[bare] = self._shape[output]
        precise = node.name not in self._bfloat16
        inputs = list(node.input[:2])
        self._layer(f"{node.name}/product", "Convolution", "opset1", data, inputs, bare, precise)
        if bare == output:
            return
        # The bias goes over rows and columns: one value a channel.
        bias = f"{node.input[2]}/channels"
        self._constants[bias] = self._constants[node.input[2]].reshape(1, -1, 1, 1)
        self._layer(node.name, "Add", "opset1", {"auto_broadcast": "numpy"}, [bare, bias], output)

    def _interpolate(self, node: onnx.NodeProto, facts: dict[str, Any]) -> None:
        mode = facts.get("mode", b"nearest")
        transformation = facts.get("coordinate_transformation_mode", b"half_pixel").decode()
        if mode != b"linear" or transformation not in ("half_pixel", "pytorch_half_pixel"):
            raise UnsupportedGraph(f"{node.name} resizes by {mode!r}, {transformation}")
        before, after = self._shape[node.input[0]][2:], self._shape[node.output[0]][2:]
        self._constants[f"{node.name}/sizes"] = np.array(after, np.int64)
        scales = [new / old for new, old in zip(after, before, strict=True)]
        self._constants[f"{node.name}/scales"] = np.array(scales, np.float32)
        self._constants["axes/rows_columns"] = np.array([2, 3], np.int64)
        data = {
            "mode": "linear_onnx",
            "shape_calculation_mode": "sizes",
            "coordinate_transformation_mode": transformation,
            "nearest_mode": "floor",
            "antialias": "false",
            "pads_begin": "0, 0, 0, 0",
            "pads_end": "0, 0, 0, 0",
            "cube_coeff": "-0.75",
        }
        extra = [f"{node.name}/sizes", f"{node.name}/scales", "axes/rows_columns"]
        inputs = [node.input[0], *extra]
        self._layer(node.name, "Interpolate", "opset4", data, inputs, node.output[0])

    def _layer(
        self,
        name: str,
        kind: str,
        version: str,
        data: dict[str, str],
        inputs: list[str],
        output: str | None,
        precise: bool = True,
    ) -> None:
        for one in inputs:
            if one not in self._origin:
                self._constant(one)
        number = self._count
        layer = self._start(name, kind, version, data)
        if precise:
            marks = ET.SubElement(layer, "rt_info")
            ET.SubElement(marks, "attribute", name="precise", version="0")
        if inputs:
            ports = ET.SubElement(layer, "input")
            for port, one in enumerate(inputs):
                _port(ports, port, self._element(one), self._shape[one])
                origin, origin_port = self._origin[one]
                ET.SubElement(
                    self._edges,
                    "edge",
                    {
                        "from-layer": str(origin),
                        "from-port": str(origin_port),
                        "to-layer": str(number),
                        "to-port": str(port),
                    },
                )
        if output is not None:
            ports = ET.SubElement(layer, "output")
            _port(ports, len(inputs), "FP32", self._shape[output], names=output)
            self._origin[output] = (number, len(inputs))

    def _constant(self, name: str) -> None:
        value: NDArray[Any] = np.ascontiguousarray(self._constants[name])
        if value.dtype.name not in _ELEMENTS:
            raise UnsupportedGraph(f"the constant {name} is {value.dtype.name}")
        element, precision = _ELEMENTS[value.dtype.name]
        # OpenVINO maps the file and wants each array where the CPU reads it at full speed.
        self._weights.extend(b"\0" * (-len(self._weights) % 64))
        data = {
            "element_type": element,
            "shape": _listed(value.shape),
            "offset": str(len(self._weights)),
            "size": str(value.nbytes),
        }
        self._weights.extend(value.astype(value.dtype.newbyteorder("<")).tobytes())
        self._origin[name] = (self._count, 0)
        self._shape[name] = list(value.shape)
        layer = self._start(name, "Const", "opset1", data)
        _port(ET.SubElement(layer, "output"), 0, precision, list(value.shape))

    def _start(self, name: str, kind: str, version: str, data: dict[str, str]) -> ET.Element:
        layer = ET.SubElement(
            self._layers, "layer", id=str(self._count), name=name, type=kind, version=version
        )
        self._count += 1
        if data:
            ET.SubElement(layer, "data", data)
        return layer

    def _element(self, name: str) -> str:
        value = self._constants.get(name)
        return "FP32" if value is None else _ELEMENTS[value.dtype.name][1]


def _port(
    ports: ET.Element, number: int, precision: str, shape: list[int], names: str | None = None
) -> None:
    facts = {"id": str(number), "precision": precision}
    port = ET.SubElement(ports, "port", facts | ({"names": names} if names else {}))
    for size in shape:
        ET.SubElement(port, "dim").text = str(size)


def _pool(node: onnx.NodeProto, facts: dict[str, Any]) -> dict[str, str]:
    pads = facts.get("pads", [0] * 4)
    if facts.get("auto_pad", b"NOTSET") != b"NOTSET" or len(node.output) != 1:
        raise UnsupportedGraph(f"{node.name} pads by itself or gives indices")
    return {
        "strides": _listed(facts.get("strides", [1, 1])),
        "pads_begin": _listed(pads[:2]),
        "pads_end": _listed(pads[2:]),
        "kernel": _listed(facts["kernel_shape"]),
        "rounding_type": "ceil" if facts.get("ceil_mode", 0) else "floor",
        "auto_pad": "explicit",
    }


def _listed(numbers: Any) -> str:
    return ", ".join(str(number) for number in numbers)
