"""`imagemill stats`: counts of jobs, rates, lag and workers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imagemill.cli.client.connection import (
    connection_arguments,
    json_argument,
    with_client,
)
from imagemill.cli.output import print_json, print_table

if TYPE_CHECKING:
    from imagemill.client import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the statistics."""
    return with_client(args, lambda client: _stats(args, client))


def _stats(args: argparse.Namespace, client: Client) -> int:
    found = client.stats()
    if args.json:
        print_json(found)
        return 0
    print_table(*queues_of(found))
    rates, workers = found["rates"], found["workers"]
    print(
        f"\n{rates['submitted_per_s']:g} submitted and {rates['ended_per_s']:g} ended a second, "
        f"over {rates['window_s']:g} s"
    )
    print(f"{workers['alive']} workers, {workers['busy']} of {workers['slots']} slots busy")
    age_s = found["oldest_queued_age_s"]
    if age_s is not None:
        print(f"oldest queued job: {age_s:.1f} s")
    return 0


def queues_of(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return the heads and rows of a table of queues: jobs by status, and lag in messages."""
    lag = found.get("lag") or {}
    queues = found["jobs"]["by_priority"]
    heads = ["priority", *next(iter(queues.values())), "lag"]
    return heads, [
        [priority, *counts.values(), lag.get(priority, "-")] for priority, counts in queues.items()
    ]
