"""Whether this CPU multiplies bfloat16 in hardware, which is what the low precisions gain from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# Without one of these OpenVINO computes in float32 whatever it is told.
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@cache
def has_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions; no where the kernel does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and bfloat16_in(cpuinfo.read_text(errors="replace"))


def bfloat16_in(cpuinfo: str) -> bool:
    """Whether the first processor in Linux's cpuinfo text has bfloat16 instructions."""
    for line in cpuinfo.splitlines():
        key, _, flags = line.partition(":")
        if key.strip() == "flags":
            return not BF16_FLAGS.isdisjoint(flags.split())
    return False
