"""`imagemill list`: list jobs, newest first."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import (
    UsageError,
    connection_arguments,
    json_argument,
    with_client,
)
from imagemill.cli.client.shown import show_jobs
from schemas.jobs import JobStatus

if TYPE_CHECKING:
    from imagemill.client import Client

_MAX_PAGE = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the filters."""
    parser.add_argument("--status", choices=[status.value for status in JobStatus])
    parser.add_argument("--op", metavar="NAME", help="operation of the jobs")
    parser.add_argument("--since", metavar="TIME", help="such as 2026-01-31T12:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="such as 2026-01-31T12:00:00Z")
    parser.add_argument(
        "-n", "--limit", type=int, default=20, metavar="N", help="jobs at most (default 20)"
    )
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """List the jobs."""
    return with_client(args, lambda client: _list(args, client))


def _list(args: argparse.Namespace, client: Client) -> int:
    if args.limit < 1:
        raise UsageError("--limit must be 1 or more.")
    filters = {
        "status": args.status,
        "operation": args.op,
        "since": args.since,
        "until": args.until,
        "limit": min(args.limit, _MAX_PAGE),
    }
    given = {name: value for name, value in filters.items() if value is not None}
    show_jobs(islice(client.list(**given), args.limit), args)
    return 0
