"""`imagemill webhooks`: endpoints and deliveries, through the HTTP API."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import connection_arguments, json_argument, with_client
from imagemill.cli.webhooks import deliveries, endpoints

if TYPE_CHECKING:
    from imagemill.client import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions on endpoints and on deliveries."""
    common = argparse.ArgumentParser(add_help=False)
    json_argument(common)
    connection_arguments(common)
    groups = parser.add_subparsers(dest="group", metavar="group", required=True)
    endpoints.arguments(groups, common)
    deliveries.arguments(groups, common)


def run(args: argparse.Namespace) -> int:
    """Run the action; return 2 if the API refuses it, after the sentence that it answers."""

    def act(client: Client) -> int:
        args.act(client, args)
        return 0

    return with_client(args, act)
