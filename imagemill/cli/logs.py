"""`imagemill logs`: the last lines of the services' logs, followed if asked."""

from __future__ import annotations

import argparse
import subprocess

from imagemill.local.errors import LocalError
from imagemill.local.stack.programs import NAMES
from imagemill.local.stack.system import LocalSystem


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the services and the number of lines."""
    parser.add_argument("service", nargs="*", help=f"{', '.join(NAMES)}; all if none is named")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="keep printing lines as they are written"
    )
    parser.add_argument(
        "-n", "--lines", type=int, default=20, help="lines of each log (default 20)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the end of each log with `tail`."""
    folder = LocalSystem().layout.logs
    unknown = set(args.service) - set(NAMES)
    if unknown:
        raise LocalError(f"there is no service {', '.join(unknown)}; there are {', '.join(NAMES)}")
    logs = [log for name in args.service or NAMES for log in sorted(folder.glob(f"{name}*.log"))]
    if not logs:
        raise LocalError(f"there are no logs in {folder} yet; `make up` starts the services")
    # -F continues with the new file when a log is rotated.
    command = ["tail", "-n", str(args.lines), *(["-F"] if args.follow else [])]
    return subprocess.run([*command, *map(str, logs)]).returncode
