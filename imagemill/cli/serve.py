"""`imagemill serve`: one service in the foreground."""

from __future__ import annotations

import argparse

from imagemill.cli.services import SERVICES, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the service."""
    parser.add_argument("service", choices=SERVICES)


def run(args: argparse.Namespace) -> int:
    """Run it until SIGTERM or SIGINT."""
    load(SERVICES[args.service])()
    return 0
