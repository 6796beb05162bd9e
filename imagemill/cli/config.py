"""`imagemill config`: every setting of every service, from the settings classes themselves."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from pydantic import SecretStr

from imagemill.settings import SERVICES
from imagemill.settings.environment import environment_name, former_names


@dataclass(frozen=True)
class Setting:
    """One setting as users see it: `name` is its environment variable, `former` its old ones."""

    name: str
    services: tuple[str, ...]
    default: str
    current: str
    description: str
    former: tuple[str, ...] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the answer."""
    parser.add_argument("--markdown", action="store_true", help="a table of defaults, for the docs")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    settings = all_settings()
    print(as_markdown(settings) if args.markdown else as_text(settings))
    return 0


def all_settings() -> list[Setting]:
    """Every setting once, in the order of the classes; secrets are masked."""
    readers: dict[str, list[str]] = {}
    found: dict[str, Setting] = {}
    for service, kind in SERVICES.items():
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
                ),
            )
    return [replace(each, services=tuple(readers[name])) for name, each in found.items()]


def as_text(settings: list[Setting]) -> str:
    """For people at a terminal: what differs from its default is marked with a star."""
    width = max(len(each.name) for each in settings)
    lines = []
    for each in settings:
        mark = " " if each.current == each.default else "*"
        lines.append(f"{mark} {each.name:<{width}} = {each.current}")
        default = "" if each.current == each.default else f" [default: {each.default}]"
        readers = "" if len(each.services) == len(SERVICES) else f" ({', '.join(each.services)})"
        lines.append(f"    {_meaning(each)}{readers}{default}")
    return "\n".join(lines)


def as_markdown(settings: list[Setting]) -> str:
    """For the documentation: without the values of this machine."""
    lines = ["| Setting | Default | Read by | Meaning |", "|---|---|---|---|"]
    for each in settings:
        default = f"`{each.default}`" if each.default != "-" else "unset"
        readers = "all" if len(each.services) == len(SERVICES) else ", ".join(each.services)
        meaning = _meaning(each).replace("|", "\\|")
        lines.append(f"| `{each.name}` | {default} | {readers} | {meaning} |")
    return "\n".join(lines)


def _meaning(setting: Setting) -> str:
    if not setting.former:
        return setting.description
    return f"{setting.description}; formerly {', '.join(setting.former)}, which still works"


def _shown(value: object) -> str:
    """A value as its variable would have it; "-" is unset, or empty."""
    if value is None or value == "":
        return "-"
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
