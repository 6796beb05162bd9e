"""`imagemill serve`: one service in the foreground."""

from __future__ import annotations

import argparse

from imagemill.cli.services import SERVICES, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which service."""
    parser.add_argument("service", choices=SERVICES)


def run(args: argparse.Namespace) -> int:
    """Run it until it is told to stop."""
    load(SERVICES[args.service])()
    return 0
