"""The first wanted provider that is installed is taken, and the wrong ones are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processor.models.providers import (
    ProviderError,
    bfloat16_in,
    choose,
    session_providers,
    short_name,
)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
ENGINES = Path("prepared", "model-tensorrt")


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        ("", [OPENVINO, CPU], ["openvino", "cpu"]),
        ("", [TENSORRT, CUDA, CPU], ["cuda", "cpu"]),
        ("", ["CoreMLExecutionProvider", CPU], ["coreml", "cpu"]),
        ("", [CPU], ["cpu"]),
        ("cpu", [OPENVINO, CPU], ["cpu"]),
        ("tensorrt, CUDA,cpu", [CUDA, CPU], ["cuda", "cpu"]),
        ("tensorrt,cuda", [CUDA, TENSORRT, CPU], ["tensorrt", "cuda"]),
    ],
)
def test_the_available_are_taken_in_the_order_of_the_setting(
    wanted: str, available: list[str], chosen: list[str]
) -> None:
    assert list(choose(wanted, available)) == chosen


def test_an_unknown_provider_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ProviderError, match=r"'gpu'; known are openvino, tensorrt"):
        choose("gpu,cpu", [CPU])


def test_none_installed_is_an_error_that_lists_the_installed() -> None:
    with pytest.raises(ProviderError, match=r"cuda is installed; this onnxruntime has cpu"):
        choose("cuda", [CPU])


def test_openvino_computes_exact_in_float32_and_never_pins() -> None:
    [(name, options), _] = session_providers(["openvino"], "exact", 1, ENGINES)
    device = json.loads(options["load_config"])["CPU"]
    assert name == OPENVINO
    assert device["INFERENCE_PRECISION_HINT"] == "f32"
    assert device["ENABLE_CPU_PINNING"] == "NO"
    assert device["INFERENCE_NUM_THREADS"] == "1"


def test_openvino_computes_the_low_precisions_in_bfloat16() -> None:
    for precision in ("balanced", "fast"):
        [(_, options), _] = session_providers(["openvino"], precision, 1, ENGINES)
        assert json.loads(options["load_config"])["CPU"]["INFERENCE_PRECISION_HINT"] == "bf16"


def test_an_accelerator_has_the_cpu_behind_it() -> None:
    assert session_providers(["cuda"], "exact", 1, ENGINES) == [CUDA, CPU]
    assert session_providers(["cuda", "cpu"], "exact", 1, ENGINES) == [CUDA, CPU]


def test_tensorrt_keeps_what_it_compiled_and_has_the_next_provider_behind_it() -> None:
    options = {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(ENGINES)}
    chosen = session_providers(["tensorrt", "cuda"], "exact", 1, ENGINES)
    assert chosen == [(TENSORRT, options), CUDA, CPU]


def test_providers_are_reported_by_the_names_of_the_setting() -> None:
    assert short_name(OPENVINO) == "openvino"
    assert short_name("QNNExecutionProvider") == "QNNExecutionProvider"


@pytest.mark.parametrize(
    ("cpuinfo", "answer"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 fma\n", False),
        ("Features\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_flags(cpuinfo: str, answer: bool) -> None:
    assert bfloat16_in(cpuinfo) is answer
