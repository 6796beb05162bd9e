"""`imagemill logs`: the ends of the services' logs, or all of them as they grow."""

from __future__ import annotations

import argparse
import subprocess

from imagemill.local.errors import LocalError
from imagemill.local.stack.programs import NAMES
from imagemill.local.stack.system import LocalSystem


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which logs and how much of them."""
    parser.add_argument("service", nargs="*", help=f"of {', '.join(NAMES)}; all if none is named")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    parser.add_argument("-n", "--lines", type=int, default=20, help="lines of each (default 20)")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    folder = LocalSystem().layout.logs
    unknown = set(args.service) - set(NAMES)
    if unknown:
        raise LocalError(f"there is no service {', '.join(unknown)}; there are {', '.join(NAMES)}")
    logs = [log for name in args.service or NAMES for log in sorted(folder.glob(f"{name}*.log"))]
    if not logs:
        raise LocalError(f"there are no logs in {folder} yet; `make up` starts the services")
    # -F goes on with the new file when a log is rotated.
    command = ["tail", "-n", str(args.lines), *(["-F"] if args.follow else [])]
    return subprocess.run([*command, *map(str, logs)]).returncode
