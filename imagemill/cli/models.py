"""`imagemill models`: run by the processor, which knows the manifest of models."""

from __future__ import annotations

import argparse

from imagemill.cli.services import MODELS, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Pass every argument on: the processor parses them."""
    parser.set_defaults(passes_on=True)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def run(args: argparse.Namespace) -> int:
    """Run the processor's command and return its exit status."""
    status = load(MODELS)([*args.rest, *args.arguments])
    return status if isinstance(status, int) else 0
