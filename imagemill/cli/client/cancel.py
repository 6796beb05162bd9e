"""`imagemill cancel`: cancel a job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import connection_arguments, json_argument, with_client
from imagemill.cli.client.shown import show_job

if TYPE_CHECKING:
    from imagemill.client import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job."""
    parser.add_argument("job", metavar="ID", help="id of the job")
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel the job; return 2 if it had ended already."""
    return with_client(args, lambda client: _cancel(args, client))


def _cancel(args: argparse.Namespace, client: Client) -> int:
    show_job(client.cancel(args.job), args)
    return 0
