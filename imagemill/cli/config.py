"""`imagemill config`: every setting of every service, read from the settings classes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from imagemill.settings import PROGRAMS, SERVICES
from imagemill.settings.environment import environment_name, former_names
from imagemill.settings.secret_files import SUFFIX, is_secret


@dataclass(frozen=True)
class Setting:
    """One setting as users see it.

    `name` is its environment variable, `former` are those it had in earlier versions; `allowed` is
    the range or the list of its values, empty if any is allowed. A `secret` may come from a file.
    """

    name: str
    services: tuple[str, ...]
    default: str
    current: str
    description: str
    former: tuple[str, ...] = ()
    allowed: str = ""
    secret: bool = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print a table of the defaults, for the documentation",
    )


def run(args: argparse.Namespace) -> int:
    """Print every setting."""
    settings = all_settings()
    print(as_markdown(settings) if args.markdown else as_text(settings))
    return 0


def all_settings() -> list[Setting]:
    """List every setting once, in the order of the classes, with secrets masked."""
    readers: dict[str, list[str]] = {}
    found: dict[str, Setting] = {}
    for service, kind in PROGRAMS.items():
        current = kind()
        for field, info in kind.model_fields.items():
            name = environment_name(kind, field, info)
            readers.setdefault(name, []).append(service)
            found.setdefault(
                name,
                Setting(
                    name=name,
                    services=(),
                    default=_shown(info.get_default(call_default_factory=True)),
                    current=_shown(getattr(current, field)),
                    description=info.description or "",
                    former=former_names(info),
                    allowed=_allowed(info),
                    secret=is_secret(info),
                ),
            )
    return [replace(each, services=tuple(readers[name])) for name, each in found.items()]


def as_text(settings: list[Setting]) -> str:
    """Format settings for a terminal; a star marks values that differ from their default."""
    width = max(len(each.name) for each in settings)
    lines = []
    for each in settings:
        mark = " " if each.current == each.default else "*"
        lines.append(f"{mark} {each.name:<{width}} = {each.current}")
        default = "" if each.current == each.default else f" [default: {each.default}]"
        readers = "" if len(each.services) == len(SERVICES) else f" ({', '.join(each.services)})"
        allowed = f" [{each.allowed}]" if each.allowed else ""
        lines.append(f"    {_meaning(each)}{readers}{default}{allowed}")
    return "\n".join(lines)


def as_markdown(settings: list[Setting]) -> str:
    """Format settings for the documentation, without the values of this machine."""
    lines = ["| Setting | Default | Allowed | Read by | Meaning |", "|---|---|---|---|---|"]
    for each in settings:
        default = f"`{each.default}`" if each.default != "-" else "unset"
        readers = "all" if len(each.services) == len(SERVICES) else ", ".join(each.services)
        meaning = _meaning(each).replace("|", "\\|")
        cells = [f"`{each.name}`", default, each.allowed, readers, meaning]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _allowed(info: FieldInfo) -> str:
    """Return the range or the choices of a field, as its type and constraints state them."""
    choices = [
        choice
        for part in (info.annotation, *get_args(info.annotation))
        if get_origin(part) is Literal
        for choice in get_args(part)
    ]
    if choices:
        return ", ".join(map(str, choices))
    if bool in (info.annotation, *get_args(info.annotation)):
        return "true, false"
    signs = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))
    return ", ".join(
        f"{sign} {getattr(each, name):,}"
        for kind, name, sign in signs
        for each in info.metadata
        if isinstance(each, kind)
    )


def _meaning(setting: Setting) -> str:
    parts = [setting.description]
    if setting.secret:
        parts.append(f"or {setting.name}{SUFFIX}, a file that has it")
    if setting.former:
        parts.append(f"formerly {', '.join(setting.former)}, which still works")
    return "; ".join(parts)


def _shown(value: object) -> str:
    """Return a value as an environment variable holds it; "-" if it is unset or empty."""
    if value is None or value == "":
        return "-"
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
