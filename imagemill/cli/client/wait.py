"""`imagemill wait`: wait until a job has ended, and print it."""

from __future__ import annotations

import argparse

from imagemill.cli.client.connection import connection_arguments, json_argument, with_client
from imagemill.cli.client.shown import show_job


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job and the time."""
    parser.add_argument("job", metavar="ID", help="id of the job")
    parser.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="seconds to wait (default 300)",
    )
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Wait; return 0 if the job has succeeded, 1 if it has not, or not in time."""
    return with_client(args, lambda client: show_job(client.wait(args.job, args.timeout), args))
