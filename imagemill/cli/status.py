"""`imagemill status`: the processes of the local system, and the folder of their logs."""

from __future__ import annotations

import argparse

from imagemill.local.stack.supervisor import ORPHANED
from imagemill.local.stack.system import RESTARTING, LocalSystem, Service, as_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Print a table of the processes, and what is wrong with them."""
    system = LocalSystem()
    services = system.report()
    if args.json:
        print(as_json(services, system.layout))
        return 0
    print(f"{'service':<12}{'state':<12}{'pid':>8}{'restarts':>10}{'port':>8}")
    for each in services:
        pid, port = each.pid or "-", each.port or "-"
        print(f"{each.name:<12}{each.state:<12}{pid:>8}{each.restarts:>10}{port:>8}")
    for each in services:
        if each.state == RESTARTING:
            print(_loop(each))
    print(f"logs: {system.layout.logs}")
    if any(each.state == ORPHANED for each in services):
        print("The supervisor was killed. `make up` starts it again, `make down` ends the rest.")
    return 0


def _loop(service: Service) -> str:
    why = f": {service.reason}" if service.reason else "; its log is empty"
    return f"The {service.name} ends soon after each start{why}"
