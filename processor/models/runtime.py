"""Open an ONNX file with onnxruntime or an IR with OpenVINO, behind one protocol.

No other module knows the errors of the two.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
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
    """An input or output of a model; `shape` has a name or None for an open dimension."""

    name: str
    shape: Sequence[int | str | None]
    type: str


class RuntimeSession(Protocol):
    """The part of onnxruntime's InferenceSession that is used here."""

    def get_inputs(self) -> Sequence[Argument]: ...

    def get_outputs(self) -> Sequence[Argument]: ...

    def get_providers(self) -> Sequence[str]: ...

    def get_modelmeta(self) -> Any: ...

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]: ...


def available(wanted: str) -> tuple[str, ...]:
    """Return the short names of the providers that `wanted` selects here, the preferred first.

    Raises:
        providers.ProviderError: an unknown name, or none of them is installed.
    """
    return providers.choose(wanted, onnxruntime.get_available_providers())


def reads_ir() -> bool:
    """Return True if the package openvino is installed, which IR files need.

    The libraries inside onnxruntime-openvino lack the reader of OpenVINO's own format.
    """
    return importlib.util.find_spec("openvino") is not None


def has_open_batch(session: RuntimeSession) -> bool:
    """Return True if the batch dimension of every input and output is open."""
    shapes = [one.shape for one in (*session.get_inputs(), *session.get_outputs())]
    return all(shape and not isinstance(shape[0], int) for shape in shapes)


def open_session(
    path: Path, names: Sequence[str], precision: str, threads: int, engines: Path
) -> RuntimeSession:
    """Load the file on the first of the providers `names` that starts, and else on the CPU.

    `engines` is the folder for the engines that TensorRT compiles for the file.

    Raises:
        OSError: that folder cannot be created.
        ERRORS: the file is no model, or the runtime cannot run it.
    """
    if path.suffix == ".xml":
        return IrSession(path, providers.device_options(precision, threads))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if names[0] == "openvino":
        # OpenVINO optimises the graph itself, and does so better on the original.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if "tensorrt" in names:
        engines.mkdir(parents=True, exist_ok=True)
    chosen = providers.session_providers(names, precision, threads, engines)
    return onnxruntime.InferenceSession(str(path), options, providers=chosen)


@dataclass(frozen=True)
class IrArgument:
    """An input or output of an IR, with the attributes of onnxruntime's NodeArg."""

    name: str
    shape: tuple[int, ...]
    type: str = "tensor(float)"


class IrSession:
    """An IR on OpenVINO's CPU device, used like an onnxruntime session; not thread-safe."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        """Load `path` (.xml) and the weights beside it (.bin).

        Raises:
            RuntimeError: the files are no IR.
        """
        import openvino  # a second OpenVINO library beside onnxruntime's: only where it is used

        compiled = openvino.Core().compile_model(path, "CPU", dict(options))
        self._request = compiled.create_infer_request()
        self._inputs = [_argument(port) for port in compiled.inputs]
        self._outputs = [_argument(port) for port in compiled.outputs]

    def get_inputs(self) -> Sequence[IrArgument]:
        """Return the inputs, in the model's order."""
        return self._inputs

    def get_outputs(self) -> Sequence[IrArgument]:
        """Return the outputs, in the model's order."""
        return self._outputs

    def get_providers(self) -> Sequence[str]:
        """Return OpenVINO's name among onnxruntime's providers."""
        return [providers.NAMES["openvino"]]

    def get_modelmeta(self) -> Any:
        """Return empty metadata: an IR has the graph only."""
        return SimpleNamespace(custom_metadata_map={})

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        """Return the named outputs, or all.

        Raises:
            RuntimeError: the inputs are not of the model's shape.
        """
        results = self._request.infer(dict(input_feed), share_inputs=True)
        names = [one.name for one in self._outputs] if output_names is None else output_names
        return [results[name] for name in names]


def _argument(port: Any) -> IrArgument:
    return IrArgument(port.get_any_name(), tuple(port.shape))
