"""docs/operations.md shows the params, and docs/errors.md the error codes, as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["generate_operations.py", "generate_errors.py"])
def test_the_tables_are_those_of_the_schemas(name):
    script = ROOT / "docs" / name
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
