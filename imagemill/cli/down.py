"""`imagemill down`: stop the local system and keep its data."""

from __future__ import annotations

import argparse

from imagemill.local.stack.system import LocalSystem


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments: there are none."""


def run(args: argparse.Namespace) -> int:
    """Stop API, processor, notifier and broker, in this order."""
    system = LocalSystem()
    stopped = system.down()
    print(f"Stopped. Data is kept in {system.layout.home}." if stopped else "Nothing was running.")
    return 0
