"""The lint check of docstrings finds those that begin with a relative clause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "docs" / "check_sentences.py"
SOURCE = '''
"""Jobs and what becomes of them."""

NOTE = "What this is not: a docstring."


class Wanted:
    """Which predictions are kept."""

    limit: int
    """
    How many of them.
    """

    def read(self) -> str:
        """Whatever comes next; Wherever is no Where."""
'''


def _check(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "some.py"
    file.write_text(text)
    return subprocess.run([sys.executable, SCRIPT, file], capture_output=True, text=True)


def test_docstrings_that_begin_with_a_relative_clause_are_listed(tmp_path: Path) -> None:
    done = _check(SOURCE, tmp_path)

    assert done.returncode == 1
    assert [line.partition(": ")[2].split(";")[0] for line in done.stderr.splitlines()] == [
        "a docstring begins with Which",
        "a docstring begins with How",
    ]


def test_those_that_begin_with_a_noun_or_a_verb_pass(tmp_path: Path) -> None:
    done = _check('"""Return what the log holds, and why."""', tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
