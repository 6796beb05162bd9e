"""Output of commands: JSON for programs, tables and lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(document: Any) -> None:
    """Print a document of the API."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their heads, columns as wide as their longest cell."""
    lines = [[*heads], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print a line for each field that has a value."""
    shown = {name: plain(value) for name, value in fields.items() if value not in (None, "", [])}
    width = max(map(len, shown))
    for name, text in shown.items():
        print(f"{name:<{width}}  {text}")


def plain(value: Any) -> str:
    """Return a value on one line; control characters, which receivers may send, are replaced."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "-"
    return "".join(letter if letter.isprintable() else " " for letter in str(value))
