"""Open a file with onnxruntime, or an IR with OpenVINO; the only place that knows their errors."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from processor.models import providers

# onnxruntime's exceptions have no common base below Exception.
ERRORS: tuple[type[Exception], ...] = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    RuntimeError,
    ValueError,
)


class Argument(Protocol):
    """An input or output; `shape` has a name or None where a dimension is open."""

    name: str
    shape: Sequence[int | str | None]
    type: str


class Inference(Protocol):
    """What is used of onnxruntime's InferenceSession."""

    def get_inputs(self) -> Sequence[Argument]: ...

    def get_outputs(self) -> Sequence[Argument]: ...

    def get_providers(self) -> Sequence[str]: ...

    def get_modelmeta(self) -> Any: ...

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]: ...


def available(wanted: str) -> tuple[str, ...]:
    """The short names of the providers that the setting gets on this machine, preferred first.

    Raises:
        providers.ProviderError: an unknown name, or none of them is installed.
    """
    return providers.choose(wanted, onnxruntime.get_available_providers())


def reads_ir() -> bool:
    """Whether the OpenVINO package is there, without which only ONNX files can be opened.

    The libraries in onnxruntime-openvino lack the reader of OpenVINO's own format.
    """
    return importlib.util.find_spec("openvino") is not None


def open_batch(inference: Inference) -> bool:
    """Whether the model leaves open how many pictures it gets, in what goes in and comes out."""
    shapes = [one.shape for one in (*inference.get_inputs(), *inference.get_outputs())]
    return all(shape and not isinstance(shape[0], int) for shape in shapes)


def open_session(
    path: Path, names: Sequence[str], precision: str, threads: int, engines: Path
) -> Inference:
    """The file loaded on the first of these providers that starts, or else on the CPU.

    `engines` is the folder for what a provider compiles of the file.

    Raises:
        OSError: that folder cannot be made.
        ERRORS: the file is no model, or one the runtime cannot run.
    """
    if path.suffix == ".xml":
        from processor.models.ir_session import IrSession  # loads a second OpenVINO

        return IrSession(path, providers.device_options(precision, threads))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if names[0] == "openvino":
        # OpenVINO optimises the graph itself, and better when it sees the original.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if "tensorrt" in names:
        engines.mkdir(parents=True, exist_ok=True)
    chosen = providers.session_providers(names, precision, threads, engines)
    return onnxruntime.InferenceSession(str(path), options, providers=chosen)
