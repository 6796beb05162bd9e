"""`imagemill ready`: the health check of a service, for containers."""

from __future__ import annotations

import argparse
import sys

from imagemill.local.stack.ready import answers_ready, api_is_ready
from imagemill.settings import SERVICES, ApiSettings, NotifierSettings, ProcessorSettings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the service."""
    parser.add_argument(
        "service",
        choices=sorted(SERVICES),
        nargs="?",
        help="service to ask; without one, any that runs here",
    )


def run(args: argparse.Namespace) -> int:
    """Ask the service at the address of its settings; return 0 if it is ready, else 1."""
    if any(map(_is_ready, [args.service] if args.service else SERVICES)):
        return 0
    named = f"the {args.service} is not ready" if args.service else "no service here is ready"
    print(f"imagemill: {named}", file=sys.stderr)
    return 1


def _is_ready(service: str) -> bool:
    if service == "api":
        return api_is_ready(ApiSettings())
    if service == "notifier":
        notifier = NotifierSettings()
        return answers_ready(notifier.reached_host, notifier.notifier_port)
    processor = ProcessorSettings()
    return answers_ready(processor.reached_host, processor.worker_port)
