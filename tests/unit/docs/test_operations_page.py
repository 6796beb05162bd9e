"""docs/operations.md shows the params as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_params_tables_are_those_of_the_schemas():
    script = ROOT / "docs" / "generate_operations.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
