"""`imagemill status`: what runs, and where the logs are."""

from __future__ import annotations

import argparse

from imagemill.local.stack.supervisor import ORPHANED
from imagemill.local.stack.system import LocalSystem, as_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the answer."""
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    system = LocalSystem()
    services = system.services()
    if args.json:
        print(as_json(services, system.layout))
    else:
        print(f"{'service':<12}{'state':<10}{'pid':>8}{'restarts':>10}{'port':>8}")
        for each in services:
            pid, port = each.pid or "-", each.port or "-"
            print(f"{each.name:<12}{each.state:<10}{pid:>8}{each.restarts:>10}{port:>8}")
        print(f"logs: {system.layout.logs}")
        if any(each.state == ORPHANED for each in services):
            print("The supervisor was killed. `make up` starts anew, `make down` ends the rest.")
    return 0
