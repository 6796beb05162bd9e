"""The locked packages, and what this project accepts of them (accepted.toml)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What is shipped, what tests and tools need beside it, and the optional Java runtime.
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-java.lock")
_PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.M)


def pins(*locks: str) -> set[tuple[str, str]]:
    """Return the packages of lock files, each as its name and version.

    A package may have several versions, each for other versions of Python.
    """
    return {pin for lock in locks for pin in _PIN.findall((ROOT / lock).read_text())}


def accepted() -> dict[str, Any]:
    """Read accepted.toml.

    Raises:
        OSError, tomllib.TOMLDecodeError: it is missing or no TOML.
    """
    return tomllib.loads((Path(__file__).parent / "accepted.toml").read_text())
