"""Rebuild a TensorFlow.js SSD detector (frozen graph in model.json, float32 weights) as ONNX.

The preprocessing loop and the box decoding are replaced by plain nodes; the network between them is
translated node by node. Batch normalisations are left for the runtime to fold, so that the bytes
written depend on the source alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# Readable by onnxruntime 1.11 and later.
IR_VERSION = 8
FIRST = "Preprocessor/sub"
BOXES, LOGITS = "concat", "concat_1"
ANCHORS = "Postprocessor/ExpandDims"
_DTYPES = {"float32": np.float32, "int32": np.int32}


class ConversionError(ValueError):
    """The graph is not one of the kind that this module rebuilds; the message names the part."""


def ssd_to_onnx(model_json: bytes, beside: Mapping[str, bytes]) -> bytes:
    """Return the detector as ONNX: input `image` [1, 3, h, w], outputs `boxes` and `scores`.

    Pixels are 0 to 255. Boxes [n, 4] are ymin, xmin, ymax, xmax as fractions of the picture; scores
    [n, classes] have no column for the background.
    `beside` holds the weight files by the names that model.json gives.

    Raises:
        ConversionError: a file is missing or short, or the graph has other parts than expected.
    """
    try:
        document = json.loads(model_json)
        nodes = {node["name"]: node for node in document["modelTopology"]["node"]}
        weights = _weights(document["weightsManifest"], beside)
        builder = _Builder(nodes, weights)
        return builder.build().SerializeToString(deterministic=True)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConversionError(f"not a TensorFlow.js graph model: {error!r}") from error


def _weights(
    manifest: list[dict[str, Any]], beside: Mapping[str, bytes]
) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for group in manifest:
        missing = [path for path in group["paths"] if path not in beside]
        if missing:
            raise ConversionError(f"weight files {', '.join(missing)} are missing")
        data, offset = b"".join(beside[path] for path in group["paths"]), 0
        for weight in group["weights"]:
            if "quantization" in weight or weight["dtype"] not in _DTYPES:
                raise ConversionError(f"{weight['name']} is not plain float32 or int32")
            dtype = np.dtype(_DTYPES[weight["dtype"]]).newbyteorder("<")
            count = math.prod(weight["shape"])
            if offset + count * dtype.itemsize > len(data):
                raise ConversionError(f"the weights end before {weight['name']}")
            array = np.frombuffer(data, dtype, count, offset)
            found[weight["name"]] = array.reshape(weight["shape"])
            offset += count * dtype.itemsize
    return found


class _Builder:
    """Builds the ONNX graph from the heads backwards; pictures are NCHW throughout."""

    def __init__(self, nodes: dict[str, Any], weights: dict[str, NDArray[Any]]) -> None:
        self._source = nodes
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._done = {FIRST}

    def build(self) -> onnx.ModelProto:
        height, width = (int(n) for n in self._weights["Preprocessor/map/while/ResizeImage/stack"])
        self._scale_pixels()
        boxes, scores = self._heads()
        graph = helper.make_graph(
            self._nodes,
            "ssd",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, boxes),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores),
            ],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="imagemill",
        )
        helper.set_model_props(model, {"box_order": "yxyx"})
        onnx.checker.check_model(model)
        return model

    def _scale_pixels(self) -> None:
        factor = self._constant("Preprocessor/mul/x", self._weights["Preprocessor/mul/x"])
        offset = self._constant("Preprocessor/sub/y", self._weights["Preprocessor/sub/y"])
        self._add("Mul", ["image", factor], "Preprocessor/mul")
        self._add("Sub", ["Preprocessor/mul", offset], FIRST)

    def _heads(self) -> tuple[list[int], list[int]]:
        anchors = self._weights[ANCHORS].reshape(-1, 4)
        classes = int(self._weights["BoxPredictor_0/stack_1/2"])
        for concat, width in ((BOXES, 4), (LOGITS, classes)):
            inputs = [name for name in self._source[concat]["input"] if name not in self._weights]
            parts = [self._rows(name, width) for name in inputs]
            self._add("Concat", parts, concat, axis=0)
        self._decode(anchors)
        self._add("Sigmoid", [LOGITS], "all_scores")
        # The first class is the background.
        starts = self._constant("scores/start", np.array([1], np.int64))
        ends = self._constant("scores/end", np.array([classes], np.int64))
        axes = self._constant("scores/axis", np.array([1], np.int64))
        self._add("Slice", ["all_scores", starts, ends, axes], "scores")
        return [len(anchors), 4], [len(anchors), classes - 1]

    def _rows(self, name: str, width: int) -> str:
        """Add one scale's predictors as rows, ordered by y, then x, then anchor."""
        node = self._source[name]
        if node["op"] != "Reshape":
            raise ConversionError(f"{name} is a {node['op']}, not a Reshape")
        self._walk(node["input"][0])
        self._add("Transpose", [node["input"][0]], f"{name}/nhwc", perm=[0, 2, 3, 1])
        shape = self._constant(f"rows/{width}", np.array([-1, width], np.int64))
        self._add("Reshape", [f"{name}/nhwc", shape], name)
        return name

    def _decode(self, anchors: NDArray[Any]) -> None:
        """Add the nodes from offsets to corners, as in the source's Postprocessor."""
        low, high = anchors[:, :2], anchors[:, 2:]
        size = high - low
        half = self._weights["ConstantFolding/Postprocessor/Decode/div_4_recip"]
        centre = self._constant("anchors/centre", low + size * half)
        spread = self._constant("anchors/size", size)
        split = self._constant("boxes/split", np.array([2, 2], np.int64))
        # Offsets are scaled for training; the source graph has the inverse factors, 1/10 and 1/5.
        steps = [
            self._constant(f"boxes/{name}", self._weights[f"ConstantFolding/Postprocessor/{key}"])
            for name, key in (
                ("centre_step", "Decode/div_recip"),
                ("size_step", "Decode/div_2_recip"),
            )
        ]
        halves = self._constant("boxes/half", half)
        self._add("Split", [BOXES, split], "boxes/yx", "boxes/hw", axis=1)
        self._add("Mul", ["boxes/yx", steps[0]], "boxes/yx_scaled")
        self._add("Mul", ["boxes/yx_scaled", spread], "boxes/shift")
        self._add("Add", ["boxes/shift", centre], "boxes/centre")
        self._add("Mul", ["boxes/hw", steps[1]], "boxes/hw_scaled")
        self._add("Exp", ["boxes/hw_scaled"], "boxes/growth")
        self._add("Mul", ["boxes/growth", spread], "boxes/size")
        self._add("Mul", ["boxes/size", halves], "boxes/half_size")
        self._add("Sub", ["boxes/centre", "boxes/half_size"], "boxes/low")
        self._add("Add", ["boxes/centre", "boxes/half_size"], "boxes/high")
        self._add("Concat", ["boxes/low", "boxes/high"], "boxes", axis=1)

    def _walk(self, name: str) -> None:
        """Translate the node after the nodes it needs.

        A list instead of recursion: the backbone is deeper than Python's recursion limit allows.
        """
        pending = [name]
        while pending:
            current = pending[-1]
            if current in self._done or current in self._weights:
                pending.pop()
                continue
            node = self._source[current]
            waiting = [
                one for one in node["input"] if one not in self._done and one not in self._weights
            ]
            if waiting:
                pending.extend(waiting)
                continue
            self._translate(current, node)
            self._done.add(current)
            pending.pop()

    def _translate(self, name: str, node: dict[str, Any]) -> None:
        translate: Callable[[str, dict[str, Any]], None] | None = {
            "Conv2D": self._convolution,
            "DepthwiseConv2dNative": self._depthwise,
            "FusedBatchNorm": self._batch_norm,
            "BiasAdd": self._elementwise,
            "Add": self._elementwise,
            "AddN": self._elementwise,
            "Mul": self._elementwise,
            "Relu6": self._relu6,
        }.get(node["op"])
        if translate is None:
            raise ConversionError(f"{name} is a {node['op']}, which is not translated")
        translate(name, node)

    def _convolution(self, name: str, node: dict[str, Any]) -> None:
        weights = self._weights[node["input"][1]].transpose(3, 2, 0, 1)
        self._conv(name, node, weights, group=1)

    def _depthwise(self, name: str, node: dict[str, Any]) -> None:
        height, width, channels, multiplier = self._weights[node["input"][1]].shape
        weights = self._weights[node["input"][1]].reshape(height, width, channels * multiplier, 1)
        self._conv(name, node, weights.transpose(2, 3, 0, 1), group=channels)

    def _conv(self, name: str, node: dict[str, Any], weights: NDArray[Any], group: int) -> None:
        attributes = node["attr"]
        padding = bytes(attributes["padding"]["s"]).decode()
        layout = bytes(attributes.get("data_format", {}).get("s", b"NHWC")).decode()
        if padding != "SAME" or layout != "NHWC":
            raise ConversionError(f"{name} has padding {padding} and layout {layout}")
        strides = [int(step) for step in attributes["strides"]["list"]["i"]]
        self._add(
            "Conv",
            [node["input"][0], self._constant(f"{name}/weights", weights)],
            name,
            auto_pad="SAME_UPPER",
            group=group,
            kernel_shape=list(weights.shape[2:]),
            strides=strides[1:3],
        )

    def _batch_norm(self, name: str, node: dict[str, Any]) -> None:
        parts = [self._constant(part, self._weights[part]) for part in node["input"][1:]]
        epsilon = float(node["attr"]["epsilon"]["f"])
        self._add("BatchNormalization", [node["input"][0], *parts], name, epsilon=epsilon)

    def _elementwise(self, name: str, node: dict[str, Any]) -> None:
        inputs = [self._operand(one) for one in node["input"]]
        self._add("Mul" if node["op"] == "Mul" else "Add", inputs, name)

    def _relu6(self, name: str, node: dict[str, Any]) -> None:
        low = self._constant("relu6/low", np.zeros((), np.float32))
        high = self._constant("relu6/high", np.full((), 6, np.float32))
        self._add("Clip", [node["input"][0], low, high], name)

    def _operand(self, name: str) -> str:
        """Return a tensor's own name, or that of a constant reshaped to one value per channel."""
        if name not in self._weights:
            return name
        return self._constant(f"{name}/channels", self._weights[name].reshape(-1, 1, 1))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            array = np.ascontiguousarray(value).reshape(value.shape)
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def _add(self, op: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        node = helper.make_node(op, inputs, list(outputs), name=outputs[0], **attributes)
        self._nodes.append(node)
