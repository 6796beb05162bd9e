"""The end of every generator: write the page, or check that it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def write_or_check(page: Path, text: str, arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` only compare it; return the process's exit status.

    The status is 1 if the page differs from the text, and the message names the generator that
    runs.
    """
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    if not page.exists() or text != page.read_text(encoding="utf-8"):
        command = f"python docs/{Path(sys.argv[0]).name}"
        print(f"{page.name} is out of date: run {command}", file=sys.stderr)
        return 1
    return 0
