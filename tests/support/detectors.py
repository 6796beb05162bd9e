"""Small ONNX detectors: of written outputs, and of each family one that finds coloured squares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from PIL import Image

from processor.models.manifest import ModelEntry, ModelInput
from processor.models.store import ModelStore
from processor.operations.detection.detector import Detector, facts_of
from processor.operations.detection.heads import Head
from tests.support.models import install

COLOURS = ("red", "green", "blue")
# The coloured detectors see squares of this side, in pixels of their input, at multiples of it.
CELL = 32
SIDE = 320
_CELLS = SIDE // CELL
# Rows that the YOLO families have before those of the cells: of strides 8 and 16, all zero.
_SMALLER_CELLS = (SIDE // 8) ** 2 + (SIDE // 16) ** 2
_YOLOV5_ANCHORS = 3
_OBJECTNESS = """
    steep = Mul(sure, hundred)
    objectness = Clip(steep, zero, one)
    output = Concat<axis=2>(boxes, objectness, classes)
"""
# The outputs of each family, and the nodes that make them of `boxes`, `classes` and `sure`, the
# highest class score of each box.
_HEADS = {
    Head.YOLOV5: ("float[a, b, c] output", _OBJECTNESS),
    Head.YOLOX: ("float[a, b, c] output", _OBJECTNESS),
    Head.YOLOV8: (
        "float[a, b, c] output",
        """
        rows = Concat<axis=2>(boxes, classes)
        output = Transpose<perm=[0, 2, 1]>(rows)
        """,
    ),
    Head.FINISHED: (
        "float[a, b, c] output",
        """
        best = ArgMax<axis=2, keepdims=1>(classes)
        number = Cast<to=1>(best)
        output = Concat<axis=2>(boxes, sure, number)
        """,
    ),
    Head.SSD: ("float[a, b, c] boxes, float[a, b, d] scores", "scores = Identity(classes)"),
    Head.SSD_FINISHED: (
        "float[a, b, c] boxes, float[a, b] scores, int64[a, b] labels",
        """
        scores = Squeeze(sure, last_axis)
        labels = ArgMax<axis=2, keepdims=0>(classes)
        """,
    ),
}


def constant_model(
    input_shape: Sequence[int | str],
    outputs: Mapping[str, NDArray],
    metadata: Mapping[str, str] | None = None,
    *,
    open_shapes: bool = False,
    input_type: int = TensorProto.FLOAT,
) -> bytes:
    """Build a model that answers every picture with these outputs."""
    nodes = []
    for name, value in outputs.items():
        nodes += [
            helper.make_node(
                "Constant", [], [f"{name}_value"], value=numpy_helper.from_array(value)
            ),
            # As in a real model the output depends on the input, so that no input is unused.
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
    """Open a model file, or its bytes, as a detector that onnxruntime alone runs."""
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    return Detector(facts_of(session), declared, lambda inputs: session.run(None, dict(inputs)))


def squares(size: tuple[int, int] = (640, 640)) -> Image.Image:
    """Draw a red square at (128, 64) and a blue one at (448, 320), 64 pixels wide, on black."""
    image = Image.new("RGB", size)
    image.paste((230, 0, 0), (128, 64, 192, 128))
    image.paste((0, 0, 230), (448, 320, 512, 384))
    return image


def install_colour_detector(
    home: Path, family: Head, name: str, *, batch: int | str = "n"
) -> ModelStore:
    """Put a colour detector into a home under a name; return the store of that home."""
    data = colour_detector(family, batch=batch)
    digest = hashlib.sha256(data).hexdigest()
    entry = ModelEntry(name=name, task="detect-objects", sha256=(digest,))
    return install(home, data, entry)


def colour_detector(family: Head, *, batch: int | str = "n") -> bytes:
    """Build a detector with the head of a family that finds red, green and blue squares.

    Its input is 320 x 320 pixels. Each cell of 32 x 32 pixels is an object whose confidence rises
    from 0 at half of a colour's full brightness to 1 at all of it. With `batch` 1 the graph fails
    on several pictures.
    """
    # YOLOX takes channels as BGR and in 0 to 255, the others as RGB and in 0 to 1.
    is_yolox = family is Head.YOLOX
    names = COLOURS[::-1] if is_yolox else COLOURS
    pictures = 0 if isinstance(batch, str) else batch
    places = _places(family)
    values = {
        "shape": np.array([pictures, 3, _CELLS**2], np.int64),
        "gain": np.array(2 / 255 if is_yolox else 2, np.float32),
        "before": np.array([0, len(places) - _CELLS**2, 0, 0, 0, 0], np.int64),
        "last_axis": np.array([2], np.int64),
        "places": places[None].astype(np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "hundred": np.array(100, np.float32),
    }
    outputs, head = _HEADS[family]
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["": 17]>
        detector (float[{batch}, 3, {SIDE}, {SIDE}] images) => ({outputs}) {{
            cells = AveragePool<kernel_shape=[{CELL}, {CELL}], strides=[{CELL}, {CELL}]>(images)
            by_channel = Reshape(cells, shape)
            by_cell = Transpose<perm=[0, 2, 1]>(by_channel)
            doubled = Mul(by_cell, gain)
            above_half = Sub(doubled, one)
            colours = Clip(above_half, zero, one)
            classes = Pad(colours, before)
            sure = ReduceMax<axes=[2], keepdims=1>(classes)
            nothing = Mul(sure, zero)
            boxes = Add(nothing, places)
            {head}
        }}
        """
    )
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.items() if name in used
    )
    helper.set_model_props(model, {"names": str(list(names))})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _places(family: Head) -> NDArray:
    """Return the box of each row as the family writes boxes; rows that are no cell have zeros."""
    rows, columns = np.divmod(np.arange(_CELLS**2), _CELLS)
    corner = np.stack([columns, rows], axis=1) * CELL
    centre, side = corner + CELL / 2, np.full_like(corner, CELL)
    match family:
        case Head.YOLOX:
            # Relative to the cell: its middle, and the logarithm of the side in cells.
            return _behind(_SMALLER_CELLS, np.tile([0.5, 0.5, 0.0, 0.0], (_CELLS**2, 1)))
        case Head.YOLOV8:
            return _behind(_SMALLER_CELLS, np.hstack([centre, side]))
        case Head.YOLOV5:
            smaller = _SMALLER_CELLS * _YOLOV5_ANCHORS + (_YOLOV5_ANCHORS - 1) * _CELLS**2
            return _behind(smaller, np.hstack([centre, side]))
        case Head.FINISHED | Head.SSD_FINISHED:
            return np.hstack([corner, corner + CELL])
        case Head.SSD:
            return np.hstack([corner, corner + CELL]) / SIDE


def _behind(zeros: int, boxes: NDArray) -> NDArray:
    return np.pad(boxes, ((zeros, 0), (0, 0)))


def _type(value: NDArray) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
