"""Parts that the commands of this package share: the client, its errors, and common arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

# Exit statuses, as documented in docs/cli.md.
FAILED = 1
WRONG_USAGE = 2
# Statuses below 500 that another try may turn into success.
_TEMPORARY = frozenset({408, 425, 429})


class UsageError(Exception):
    """Arguments that cannot be used; the text is a sentence that says what to do."""


def connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the address and the key."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--url", metavar="URL", help="URL of the API (default IMAGEMILL_URL, or this machine's)"
    )
    group.add_argument(
        "--key",
        metavar="KEY",
        help="API key (default IMAGEMILL_API_KEY, which other users of the machine do not see)",
    )


def json_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def operation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is done to the images."""
    parser.add_argument("--op", metavar="NAME", help="operation to run (default remove-background)")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one param of the operation; VALUE is JSON, or else text; may be repeated",
    )
    parser.add_argument(
        "--params", metavar="JSON", help="all params as a JSON object, or @FILE with one"
    )
    parser.add_argument("--priority", choices=("high", "normal", "low"), help="queue to wait in")


def params_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the params of `--params` and `--param`.

    Raises:
        UsageError: one of them cannot be read.
    """
    params: dict[str, Any] = {}
    if args.params is not None:
        params = _object(args.params)
    for each in args.param:
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise UsageError(f"--param {each}: write NAME=VALUE, such as --param format=webp.")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text
    return params


def _object(text: str) -> dict[str, Any]:
    where = "--params"
    try:
        if text.startswith("@"):
            where = text[1:]
            with open(where, encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {error}.") from error
    if not isinstance(found, dict):
        raise UsageError(f'{where}: give a JSON object, such as {{"format": "webp"}}.')
    return found


def with_client(args: argparse.Namespace, work: Callable[[Any], int]) -> int:
    """Run `work` with a client; return its exit status, or print what went wrong."""
    from imagemill.client import ApiError, Client, ImagemillError

    try:
        url, key = _address(args)
        with Client(url, key=key) as client:
            # At once, without the retries of a request: a person waits.
            client.check_listening()
            return work(client)
    except ApiError as error:
        # Of what was typed, such as an unknown operation or job; others may pass by themselves.
        mendable = 400 <= error.status < 500 and error.status not in _TEMPORARY
        return complain(error.detail, WRONG_USAGE if mendable else FAILED)
    except (UsageError, ValueError) as error:
        return complain(str(error), WRONG_USAGE)
    except (ImagemillError, OSError) as error:
        return complain(str(error), FAILED)


def _address(args: argparse.Namespace) -> tuple[str, str | None]:
    """Return the URL of the API and the key: of the arguments, the settings, or this machine's."""
    # The settings take a moment to import, which `--help` is spared.
    from imagemill.settings.commands import CommandSettings

    settings = CommandSettings()
    key = args.key or (settings.api_key and settings.api_key.get_secret_value()) or None
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError("The API key contains letters that no key has; set IMAGEMILL_API_KEY.")
    if args.url or "url" in settings.model_fields_set:
        return args.url or settings.url, key
    from imagemill.settings import ApiSettings

    api = ApiSettings()
    return f"{api.scheme}://{api.reached_host}:{api.port}", key


def quoted(segment: str) -> str:
    """Return a text that somebody typed as one segment of a path."""
    return quote(segment, safe="")


def complain(sentence: str, status: int) -> int:
    """Print an error; return the exit status."""
    print(f"imagemill: {sentence}", file=sys.stderr)
    return status
