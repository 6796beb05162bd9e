"""Make one file of a user's model whose weights lie in files beside it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

# Most bytes of one ONNX file, 2 GiB: a limit of protobuf.
MAX_MODEL_BYTES = onnx.checker.MAXIMUM_PROTOBUF


class WeightsError(ValueError):
    """The file is no model, or cannot be made one file; the message gives the reason."""


@contextlib.contextmanager
def one_file(path: Path) -> Iterator[Path]:
    """Yield the model's own path, or that of a temporary copy with the weights inside.

    Raises:
        WeightsError: it is no ONNX model, a file of weights is missing, or the total is over
            MAX_MODEL_BYTES.
        OSError: a file cannot be read, or the copy not written.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise WeightsError(f"{path} is not a model that can be run: {error}") from error
    tensors = filter(uses_external_data, _tensors(model.graph))
    names = {ExternalDataInfo(tensor).location for tensor in tensors}
    if not names:
        yield path
        return
    _check_size(path, [path.with_name(name) for name in sorted(names)])
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except onnx.checker.ValidationError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(model.SerializeToString(deterministic=True))
        yield copy


def _check_size(path: Path, others: list[Path]) -> None:
    for other in others:
        if not other.is_file():
            raise WeightsError(f"{path} keeps weights in {other}, which is not there")
    total = sum(file.stat().st_size for file in (path, *others))
    if total >= MAX_MODEL_BYTES:
        raise WeightsError(
            f"{path} and the weights in {', '.join(file.name for file in others)} are {total:,} "
            f"bytes, and one ONNX file holds less than {MAX_MODEL_BYTES:,}; export it with smaller "
            "weights, as float16 or int8"
        )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant of the graph and of its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
