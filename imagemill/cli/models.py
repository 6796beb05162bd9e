"""`imagemill models`: handed on to the processor, which knows the manifest."""

from __future__ import annotations

import argparse

from imagemill.cli.services import MODELS, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Take every argument as it is: the processor's parser reads them."""
    parser.set_defaults(passes_on=True)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def run(args: argparse.Namespace) -> int:
    """Run it and hand its exit status back."""
    status = load(MODELS)([*args.rest, *args.arguments])
    return status if isinstance(status, int) else 0
