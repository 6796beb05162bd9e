"""Write a model as OpenVINO IR in which only the named convolutions may be computed in bfloat16.

OpenVINO's CPU plugin keeps a node in float32 whose runtime info has the key `precise_0`, even
where the hint for the whole model is bfloat16. It rewrites MaxPool-8 and Interpolate-11 to
MaxPool-1 and Interpolate-4 while it compiles, and drops the key on the way: with them u2netp's
mask is off by 0.36 instead of 0.012 (OpenVINO 2026.4). So both are replaced here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import openvino
from openvino import Node, opset1, opset8
from openvino.utils.node_factory import NodeFactory

_KEEP_FLOAT32 = "precise_0"
# OpenVINO splits a convolution with bias into NAME/WithoutBiases and the addition NAME.
_BARE_CONVOLUTION = "/WithoutBiases"


class UnsupportedGraph(ValueError):
    """The graph has a node that cannot be marked; the message names it."""


@dataclass(frozen=True)
class IrModel:
    """The two files of an IR; they lie beside each other as NAME.xml and NAME.bin."""

    xml: bytes
    weights: bytes


def write(model: onnx.ModelProto, bfloat16: Collection[str]) -> IrModel:
    """Return the model as IR; `bfloat16` has the node names of the convolutions not kept exact.

    Raises:
        UnsupportedGraph: OpenVINO cannot read the graph, it has no such convolution, or a pooling
            or resize in a form that cannot be replaced.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, xml, weights = (Path(folder, name) for name in ("m.onnx", "m.xml", "m.bin"))
        source.write_bytes(model.SerializeToString(deterministic=True))
        try:
            graph = openvino.Core().read_model(source)
            _replace_new_versions(graph)
        except RuntimeError as error:
            raise UnsupportedGraph(f"OpenVINO cannot read it: {error}") from error
        _mark(graph, bfloat16)
        openvino.serialize(graph, xml, weights)
        return IrModel(xml.read_bytes(), weights.read_bytes())


def _mark(graph: openvino.Model, bfloat16: Collection[str]) -> None:
    found = set()
    for number, node in enumerate(graph.get_ordered_ops()):
        kind = node.get_type_name()
        if node.get_friendly_name() == node.get_name():
            # Named by a counter of the process, which would make the file differ each time.
            node.set_friendly_name(f"{kind}/{number}")
        name = node.get_friendly_name().removesuffix(_BARE_CONVOLUTION)
        if kind == "Convolution" and name in bfloat16:
            found.add(name)
        elif kind != "Constant":
            node.get_rt_info()[_KEEP_FLOAT32] = ""
    if missing := set(bfloat16) - found:
        raise UnsupportedGraph(f"there is no convolution {', '.join(sorted(missing))}")


def _replace_new_versions(graph: openvino.Model) -> None:
    replacements = {"MaxPool": _old_max_pool, "Interpolate": _old_interpolate}
    for node in graph.get_ordered_ops():
        replace = replacements.get(node.get_type_name())
        if replace is None:
            continue
        new = replace(node)
        new.set_friendly_name(node.get_friendly_name())
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(new.output(0))
        new.output(0).set_names(node.output(0).get_names())
    graph.validate_nodes_and_infer_types()


def _old_max_pool(node: Node) -> Node:
    facts = node.get_attributes()
    indices_used = len(node.outputs()) > 1 and node.output(1).get_target_inputs()
    if indices_used or set(facts.get("dilations", [1])) != {1}:
        raise UnsupportedGraph(f"{node.get_friendly_name()} is dilated or gives indices")
    names = ("strides", "pads_begin", "pads_end", "kernel", "rounding_type", "auto_pad")
    return opset1.max_pool(node.input_value(0), *(facts[name] for name in names))


def _old_interpolate(node: Node) -> Node:
    facts = node.get_attributes()
    before, after = node.input_value(0).get_shape(), node.output(0).get_shape()
    if facts["shape_calculation_mode"] != "sizes" or list(before)[:2] != list(after)[:2]:
        raise UnsupportedGraph(f"{node.get_friendly_name()} does not resize to rows and columns")
    axes = range(2, len(after))
    parts = (
        np.array([after[axis] for axis in axes], np.int64),
        np.array([after[axis] / before[axis] for axis in axes], np.float32),
        np.array(axes, np.int64),
    )
    inputs = [node.input_value(0), *(opset8.constant(part).output(0) for part in parts)]
    return NodeFactory("opset4").create("Interpolate", inputs, facts)
