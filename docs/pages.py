"""What the generators of pages share: write a page, or tell that it is out of date."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def write_or_check(page: Path, text: str, arguments: Sequence[str]) -> int:
    """Write the page; with `--check` only compare it. The process's exit code: 1 when it differs.

    The generator that was run is named in the message.
    """
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    if not page.exists() or text != page.read_text(encoding="utf-8"):
        print(
            f"{page.name} is out of date: run python docs/{Path(sys.argv[0]).name}", file=sys.stderr
        )
        return 1
    return 0
