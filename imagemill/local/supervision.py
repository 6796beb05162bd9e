"""The supervisord configuration of a local system, as text. Pure but for reading its templates."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imagemill.local.layout import Layout, project_file

BROKER = "broker"
API = "api"
PROCESSOR = "processor"
NOTIFIER = "notifier"
# In the order they are started; stopped in the other direction, the notifier after the processor.
NAMES = (BROKER, API, PROCESSOR, NOTIFIER)
_PRIORITY = {BROKER: 1, NOTIFIER: 2, PROCESSOR: 3, API: 4}


@dataclass(frozen=True)
class Program:
    """One service: the command that runs it, how many processes, seconds to stop in."""

    name: str
    command: tuple[str, ...]
    processes: int = 1
    stop_wait_s: int = 20


def supervisor_config(layout: Layout, programs: Iterable[Program], directory: Path) -> str:
    """The configuration for these programs; `directory` is where they run."""
    sections = [
        _template("supervisord.conf").substitute(
            socket=_literal(layout.supervisor_socket),
            pidfile=_literal(layout.supervisor_pid),
            logs=_literal(layout.logs),
            directory=_literal(directory),
        )
    ]
    sections.extend(_section(layout, program) for program in programs)
    return "".join(sections)


def process_names(program: Program) -> list[str]:
    """The names of a program's processes: its own, or numbered from 1 when there are several."""
    if program.processes == 1:
        return [program.name]
    return [f"{program.name}-{number}" for number in range(1, program.processes + 1)]


def _section(layout: Layout, program: Program) -> str:
    name = program.name if program.processes == 1 else f"{program.name}-%(process_num)d"
    command = " ".join(_quoted(word) for word in program.command)
    return _template("program.conf").substitute(
        name=program.name,
        command=f"{command} {name}",
        process_name=name,
        numprocs=program.processes,
        priority=_PRIORITY[program.name],
        stop_wait_s=program.stop_wait_s,
        log=_literal(layout.logs) + f"/{name}.log",
    )


def _template(name: str) -> string.Template:
    return string.Template(project_file(f"deploy/local/{name}").read_text())


def _literal(value: object) -> str:
    """supervisord expands %(...)s everywhere; a doubled sign stands for itself."""
    return str(value).replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command, which supervisord splits as a shell would."""
    if word and not set(word) & set(" \t'\"\\;"):
        return _literal(word)
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return _literal(f'"{escaped}"')
