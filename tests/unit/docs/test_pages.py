"""The generated pages of docs/ are up to date with their sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
GENERATORS = sorted(DOCS.glob("generate_*.py"))


def test_there_are_six_of_them() -> None:
    assert len(GENERATORS) == 6


@pytest.mark.parametrize("script", GENERATORS, ids=lambda script: script.stem)
def test_the_page_is_that_of_its_source(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
