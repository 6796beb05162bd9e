"""The programs of a local system, and the supervisord configuration that runs them."""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imagemill.local.errors import LocalError
from imagemill.local.layout import Layout, project_file

BROKER = "broker"
API = "api"
PROCESSOR = "processor"
NOTIFIER = "notifier"
# In the order of their start. They stop in another: the notifier posts results of the processor.
NAMES = (BROKER, API, PROCESSOR, NOTIFIER)
STOP_ORDER = (API, PROCESSOR, NOTIFIER, BROKER)

# supervisord expands %, and takes ; and # for the begin of a comment.
_UNWRITABLE = frozenset("%;#\r\n")


@dataclass(frozen=True)
class Program:
    """One service: its command, its number of processes, and the seconds it may take to stop."""

    name: str
    command: tuple[str, ...]
    processes: int = 1
    stop_wait_s: int = 20


def supervisor_config(layout: Layout, programs: Iterable[Program], directory: Path) -> str:
    """Return the configuration for these programs, which run in `directory`.

    Raises:
        LocalError: a path has a character that the configuration cannot hold.
    """
    for path in (layout.home, directory):
        if set(str(path)) & _UNWRITABLE:
            raise LocalError(
                f"the path {path} has one of % ; # in it, which the supervisor's configuration "
                "cannot hold; use another folder (IMAGEMILL_HOME)"
            )
    sections = [
        _template("supervisord.conf").substitute(
            socket=layout.supervisor_socket,
            pidfile=layout.supervisor_pid,
            logs=layout.logs,
            directory=directory,
        )
    ]
    sections.extend(_section(layout, program) for program in programs)
    return "".join(sections)


def _section(layout: Layout, program: Program) -> str:
    name = program.name if program.processes == 1 else f"{program.name}-%(process_num)d"
    command = " ".join(_quoted(word) for word in program.command)
    return _template("program.conf").substitute(
        name=program.name,
        command=f"{command} {name}",
        process_name=name,
        numprocs=program.processes,
        priority=len(STOP_ORDER) - STOP_ORDER.index(program.name),
        stop_wait_s=program.stop_wait_s,
        log=f"{layout.logs}/{name}.log",
    )


def _template(name: str) -> string.Template:
    return string.Template(project_file(f"deploy/local/{name}").read_text())


def _quoted(word: str) -> str:
    """Quote a word of a command, which supervisord splits like a shell, expanding %(...)s."""
    return shlex.quote(word).replace("%", "%%")
