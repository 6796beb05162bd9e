"""Choose the onnxruntime execution provider that runs a model, and its options for this CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
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

# GPUs compute several pictures in little more time than one; a CPU takes as long as one by one.
_BATCHING = frozenset({"cuda", "tensorrt", "rocm"})
_DEFAULT_BATCH_PICTURES = 8

# Without one of these OpenVINO computes in float32, whatever precision is asked for.
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


class ProviderError(ValueError):
    """The setting names a provider that does not exist, or none that is installed."""


@cache
def has_bfloat16() -> bool:
    """Return True if the CPU multiplies bfloat16 in hardware; False where Linux does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and bfloat16_in(cpuinfo.read_text(errors="replace"))


def bfloat16_in(cpuinfo: str) -> bool:
    """Return True if the first processor in Linux's cpuinfo text has bfloat16 instructions."""
    for line in cpuinfo.splitlines():
        key, _, flags = line.partition(":")
        if key.strip() == "flags":
            return not BF16_FLAGS.isdisjoint(flags.split())
    return False


def choose(wanted: str, available: Sequence[str]) -> tuple[str, ...]:
    """Return the short names of the wanted providers that are installed, the preferred one first.

    `wanted` is the setting: comma-separated names in order of preference; empty takes PREFERENCE.

    Raises:
        ProviderError: an unknown name, or none of them is available.
    """
    order = [part.strip().lower() for part in wanted.split(",") if part.strip()] or PREFERENCE
    for name in order:
        if name not in NAMES:
            raise ProviderError(
                f"unknown execution provider {name!r}; known are {', '.join(NAMES)}"
            )
    if installed_names := tuple(name for name in order if NAMES[name] in available):
        return installed_names
    installed = [short for short, full in NAMES.items() if full in available]
    raise ProviderError(
        f"none of the execution providers {', '.join(order)} is installed; "
        f"this onnxruntime has {', '.join(installed)}"
    )


def short_name(full: str) -> str:
    """Return the name that the setting has for onnxruntime's provider name."""
    return next((short for short, known in NAMES.items() if known == full), full)


def batch_limit(wanted: int | None, provider: str) -> int:
    """Return how many pictures may share a call on that provider; `wanted` is the setting."""
    if wanted is not None:
        return wanted
    return _DEFAULT_BATCH_PICTURES if provider in _BATCHING else 1


def batch_sizes(provider: str, limit: int) -> tuple[int, ...]:
    """Return the batch sizes of a call, rising to `limit`; smaller batches are filled up.

    GPU providers tune or compile their kernels for every input shape, which takes seconds each: on
    them only powers of two are used.
    """
    if provider not in _BATCHING:
        return tuple(range(1, limit + 1))
    return (*(1 << power for power in range((limit - 1).bit_length())), limit)


def tunes_shapes(provider: str) -> bool:
    """Return True if the provider's first call with every new shape takes long."""
    return provider in _BATCHING


def session_providers(
    names: Sequence[str], precision: str, threads: int, engines: Path
) -> list[Any]:
    """Return the `providers` argument of InferenceSession, which falls back along the list itself.

    `engines` is the folder of this one model for the engines that TensorRT compiles.
    """
    options = {
        "openvino": openvino_options(precision, threads),
        # TensorRT compiles for minutes and keys its cache by the graph alone: in one folder a model
        # with the same graph and other weights would run with the first one's engine.
        "tensorrt": {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)},
    }
    order = dict.fromkeys([*names, "cpu"])
    return [(NAMES[name], options[name]) if name in options else NAMES[name] for name in order]


def openvino_options(precision: str, threads: int) -> dict[str, str]:
    """Return the OpenVINO execution provider's options on a CPU."""
    device = json.dumps({"CPU": device_options(precision, threads)})
    return {"device_type": "CPU", "load_config": device}


def device_options(precision: str, threads: int) -> dict[str, str]:
    """Return OpenVINO's options for its CPU device.

    Pinning is off: by default OpenVINO binds every one-thread process to the same core, and two
    processes then give 11.4 images/s together instead of 24.5 (docs/models.md, precision fast).
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "exact" else "bf16",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    }
