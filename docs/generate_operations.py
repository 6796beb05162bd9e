"""Write the params tables of docs/operations.md from the operations' JSON Schemas.

`python docs/generate_operations.py` rewrites the page, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pages import write_or_check

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from schemas.catalog import BUILTIN  # noqa: E402
from schemas.operations import OperationSpec  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"
_BLOCK = re.compile(r"(<!-- params: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# New operations get their section before this one.
_NEXT = "## Pipelines\n"


def main(arguments: list[str]) -> int:
    """Rewrite the page, or compare it; return the exit status, 1 also for an unknown operation."""
    before = PAGE.read_text(encoding="utf-8")
    specs = {spec.name: spec for spec in BUILTIN}
    shown = [match[2] for match in _BLOCK.finditer(before)]
    unknown = sorted(set(shown) - set(specs))
    if unknown:
        print(f"{PAGE.name} shows unknown operations: {', '.join(unknown)}", file=sys.stderr)
        return 1
    page = before
    for spec in BUILTIN:
        if spec.name not in shown:
            page = page.replace(_NEXT, _section(spec) + _NEXT)
    after = _BLOCK.sub(
        lambda match: (
            match[1] + params_table(specs[match[2]].params.model_json_schema()) + match[3]
        ),
        page,
    )
    return write_or_check(PAGE, after, arguments)


def _section(spec: OperationSpec) -> str:
    """Return the first text of a new operation's section, for a person to extend."""
    return f"## {spec.name}\n\n{spec.summary}\n\n<!-- params: {spec.name} -->\n<!-- end -->\n\n"


def params_table(schema: dict[str, Any]) -> str:
    """Return a Markdown table of a schema's properties, and one of each object within it."""
    text = _table(schema)
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            text += f"\n`{name}`: {_sentence(definition)}\n\n{_table(definition)}"
    return text


def _table(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = ["| param | type | default | meaning |", "|---|---|---|---|"]
    for name, facts in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{json.dumps(facts.get('default'))}`"
        if name not in required and "default" not in facts:
            default = ""
        cells = (f"`{name}`", _type(facts), default, _sentence(facts))
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else "It takes no params.\n"


def _type(facts: dict[str, Any]) -> str:
    choices = facts.get("anyOf") or facts.get("oneOf")
    if choices:
        return ", or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if "$ref" in facts:
        return f"`{facts['$ref'].rpartition('/')[2]}`"
    if "enum" in facts:
        return ", ".join(f"`{json.dumps(value)}`" for value in facts["enum"])
    if "const" in facts:
        return f"`{json.dumps(facts['const'])}`"
    word = facts.get("type", "any value")
    if word == "array":
        return _list_type(facts)
    if word == "string":
        length = _range(facts.get("minLength"), facts.get("maxLength"))
        return f"string of {length} characters" if length else word
    over, under = facts.get("exclusiveMinimum"), facts.get("exclusiveMaximum")
    limits = [_range(facts.get("minimum"), facts.get("maximum"))]
    limits += [f"over {over}"] if over is not None else []
    limits += [f"under {under}"] if under is not None else []
    return " ".join([word, *filter(None, limits)])


def _list_type(facts: dict[str, Any]) -> str:
    if "prefixItems" in facts:
        return "list of: " + "; ".join(_type(item) for item in facts["prefixItems"])
    count = _range(facts.get("minItems"), facts.get("maxItems"))
    return f"list{f' ({count})' if count else ''} of {_type(facts.get('items', {}))}"


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}" if least != most else f"{least:g}"
    if least is not None:
        return f"at least {least:g}"
    return f"at most {most:g}" if most is not None else ""


def _sentence(facts: dict[str, Any]) -> str:
    return " ".join(facts.get("description", "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
