"""Which onnxruntime execution provider runs a model, and with which options. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = {
    "openvino": "OpenVINOExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# TensorRT compiles for minutes at the first image: only where it is asked for by name.
PREFERENCE = ("openvino", "cuda", "rocm", "coreml", "cpu")

# They compute some pictures in little more time than one. A CPU takes as long as one by one.
_BATCHING = frozenset({"cuda", "tensorrt", "rocm"})
_BATCH = 8


class ProviderError(ValueError):
    """The setting names a provider that does not exist, or none that is installed."""


def choose(wanted: str, available: Sequence[str]) -> tuple[str, ...]:
    """The short names of the wanted providers that this onnxruntime has, the preferred one first.

    `wanted` is the setting: comma separated names in order of preference, empty for ours.

    Raises:
        ProviderError: an unknown name, or none of them is available.
    """
    order = [part.strip().lower() for part in wanted.split(",") if part.strip()] or PREFERENCE
    for name in order:
        if name not in NAMES:
            raise ProviderError(
                f"unknown execution provider {name!r}; known are {', '.join(NAMES)}"
            )
    if there := tuple(name for name in order if NAMES[name] in available):
        return there
    installed = [short for short, full in NAMES.items() if full in available]
    raise ProviderError(
        f"none of the execution providers {', '.join(order)} is installed; "
        f"this onnxruntime has {', '.join(installed)}"
    )


def short_name(full: str) -> str:
    """The setting's name of an onnxruntime provider."""
    return next((short for short, known in NAMES.items() if known == full), full)


def batch_limit(wanted: int | None, provider: str) -> int:
    """How many pictures may share a call on that provider; `wanted` is the setting."""
    if wanted is not None:
        return wanted
    return _BATCH if provider in _BATCHING else 1


def batch_sizes(provider: str, limit: int) -> tuple[int, ...]:
    """The sizes that a call may have, rising to the limit; smaller batches are filled up.

    GPU providers tune or compile their kernels for every shape they meet, which takes seconds, so
    they are to meet few.
    """
    if provider not in _BATCHING:
        return tuple(range(1, limit + 1))
    return (*(1 << power for power in range((limit - 1).bit_length())), limit)


def tunes_shapes(provider: str) -> bool:
    """Whether the first call of every shape takes long there."""
    return provider in _BATCHING


def session_providers(
    names: Sequence[str], precision: str, threads: int, engines: Path
) -> list[Any]:
    """What InferenceSession takes as `providers` for those: it goes on to the next by itself.

    `engines` is the model's own folder for what TensorRT compiles.
    """
    options = {
        "openvino": openvino_options(precision, threads),
        # It compiles for minutes, and knows a model by its graph: one with other weights and the
        # same graph would get what was compiled for the first.
        "tensorrt": {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)},
    }
    order = dict.fromkeys([*names, "cpu"])
    return [(NAMES[name], options[name]) if name in options else NAMES[name] for name in order]


def openvino_options(precision: str, threads: int) -> dict[str, str]:
    """The OpenVINO provider's options on a CPU."""
    device = json.dumps({"CPU": device_options(precision, threads)})
    return {"device_type": "CPU", "load_config": device}


def device_options(precision: str, threads: int) -> dict[str, str]:
    """OpenVINO's own options of its CPU device.

    Pinning is off because OpenVINO otherwise binds every one-thread process to the same core:
    two workers then run no faster than one.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "exact" else "bf16",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    }
