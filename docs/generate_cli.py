"""Write docs/cli.md from the parsers of the command line.

`python docs/generate_cli.py` rewrites the page, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from pages import write_or_check

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from imagemill.cli import COMMANDS, command_parser  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"
_HEAD = """\
# Command line

`imagemill COMMAND --help` prints what stands here. `eval "$(imagemill completion bash)"` makes a
shell complete commands and options.

    imagemill run photo.jpg -o cutout.png        # cut one picture out
    imagemill run photos/ -o cut/ --resume       # a folder with its subfolders; again: what is new
    imagemill run in/ -o out/ --watch            # go on with pictures that come
    cat photo.jpg | imagemill run > cutout.png   # in a pipe
    imagemill run photo.jpg --op detect-objects  # print what is in it
    imagemill run *.jpg -o small/ --op transform --params @resize.json

The commands that use a running imagemill ask the API at `--url`, else `IMAGEMILL_URL`, else the one
of this machine's settings, with the key `--key`, else `IMAGEMILL_API_KEY`.

| exit status | means |
|---|---|
| 0 | done |
| 1 | it failed, or part of it did; the reason is on standard error |
| 2 | the arguments cannot be used, or name what is not there; the sentence says what to do |
| 130 | Ctrl+C |

"""


def main(arguments: list[str]) -> int:
    """Rewrite the page, or compare it; return the exit status."""
    return write_or_check(PAGE, render(), arguments)


def render() -> str:
    """Return the page's text."""
    sections = [_HEAD]
    for name in COMMANDS:
        sections += _section(f"imagemill {name}", COMMANDS[name], command_parser(name))
    return "\n".join(sections).rstrip() + "\n"


def _section(command: str, summary: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    level = "#" * (command.count(" ") + 1)
    yield f"{level} {command}\n"
    yield f"{summary[:1].upper()}{summary[1:]}.\n"
    nested: dict[str, argparse.ArgumentParser] = {}
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            nested |= action.choices
            helps = {each.dest: each.help or "" for each in action._choices_actions}
        elif action.help != argparse.SUPPRESS and action.dest != "help":
            rows.append(f"| {_name(action)} | {_help(action)} |")
    if rows:
        yield "\n".join(["| argument | |", "|---|---|", *rows]) + "\n"
    for name, child in nested.items():
        yield from _section(f"{command} {name}", helps.get(name, ""), child)


def _name(action: argparse.Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    shown = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f"`{shown}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} `{shown}`"


def _help(action: argparse.Action) -> str:
    return " ".join((action.help or "").replace("%%", "%").replace("|", "\\|").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
