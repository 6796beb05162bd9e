"""`imagemill webhooks`: endpoints and deliveries, through the HTTP API."""

from __future__ import annotations

import argparse
import sys

from imagemill.cli.client.connection import connection_arguments, json_argument
from imagemill.cli.webhooks import deliveries, endpoints
from imagemill.cli.webhooks.client import ApiClient, RequestRefused
from imagemill.settings import CommandSettings

# The client can mend these: exit status 2, as for wrong arguments. Others may pass by themselves.
_TEMPORARY = frozenset({408, 425, 429})


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
    settings = CommandSettings()
    key = args.key or (settings.api_key and settings.api_key.get_secret_value())
    try:
        args.act(ApiClient(args.url or settings.url, key or None), args)
    except RequestRefused as error:
        print(f"imagemill: {error}", file=sys.stderr)
        return 2 if error.status < 500 and error.status not in _TEMPORARY else 1
    return 0
