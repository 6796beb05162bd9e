"""Check how docstrings begin: with a verb or a noun, never with a free relative clause.

`python docs/check_sentences.py` prints each docstring that begins with What, Whether, Which, That,
How, Why or Where, and returns 1 if there is any. The first word of such a sentence names nothing,
so a reader must reach its end to learn its subject.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("schemas", "imagemill", "producer_api", "processor", "notifier", "docs")
_BAD = re.compile(r"(What|Whether|Which|That|How|Why|Where)\b")


def main(paths: list[str]) -> int:
    """Check the files, by default all of FOLDERS; return the exit status."""
    files = map(Path, paths) if paths else _files()
    found = [line for file in files for line in check(file)]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def check(file: Path) -> list[str]:
    """Return a line for each docstring of the file that begins badly."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [
        f"{file}:{text.lineno}: a docstring begins with {match[1]}; begin with a verb or a noun"
        for text in _docstrings(tree)
        if (match := _BAD.match(text.value.strip()))
    ]


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield all strings that stand alone, those below attributes too."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str()) as text):
                yield text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
