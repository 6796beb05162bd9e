"""`imagemill get`: print a job."""

from __future__ import annotations

import argparse

from imagemill.cli.client.connection import connection_arguments, json_argument, with_client
from imagemill.cli.client.shown import show_job


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job."""
    parser.add_argument("job", metavar="ID", help="id of the job")
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the job; return 1 if it has failed or was cancelled."""
    return with_client(args, lambda client: show_job(client.get(args.job), args))
