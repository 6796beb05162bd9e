"""Rewrite a model's graph without changing its function: fewer outputs, fixed shapes."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError


class RewriteError(ValueError):
    """The graph lacks what the rewrite needs; the message names it."""


def only_output(data: bytes, output: str | None) -> onnx.ModelProto:
    """The model with that one output (None: its first) and nothing that only served others.

    Raises:
        RewriteError: not an ONNX model, or it has no such output.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise RewriteError(f"it is not an ONNX file: {error}") from error
    graph = model.graph
    chosen = [one for one in graph.output if output in (None, one.name)][:1]
    if not chosen:
        raise RewriteError(f"it has no output {output!r}")
    needed = {chosen[0].name}
    kept: list[onnx.NodeProto] = []
    # ONNX lists nodes so that each comes after those it reads.
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    replace = {
        "node": reversed(kept),
        "output": chosen,
        "initializer": [one for one in graph.initializer if one.name in needed],
        "value_info": [one for one in graph.value_info if one.name in needed],
    }
    for field, items in replace.items():
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return model
