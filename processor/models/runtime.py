"""Open a file with onnxruntime on one provider; the only place that knows its exceptions."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
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


def provider(wanted: str) -> str:
    """The short name of the provider that the setting gets on this machine.

    Raises:
        providers.ProviderError: an unknown name, or none of them is installed.
    """
    return providers.choose(wanted, onnxruntime.get_available_providers())


def open_session(
    path: Path, provider: str, precision: str, threads: int
) -> onnxruntime.InferenceSession:
    """The file loaded on that provider, or on the CPU where the provider does not start.

    Raises:
        ERRORS: the file is no ONNX model, or one the runtime cannot run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if provider == "openvino":
        # OpenVINO optimises the graph itself, and better when it sees the original.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    chosen = providers.session_providers(provider, precision, threads)
    return onnxruntime.InferenceSession(str(path), options, providers=chosen)
