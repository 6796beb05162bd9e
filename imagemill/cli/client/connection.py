"""Parts that the commands of this package share: the client, its errors, and common arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

# Exit statuses, as documented in docs/cli.md.
FAILED = 1
WRONG_USAGE = 2


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


def with_client(args: argparse.Namespace, work: Callable[[Any], int], *, retries: int = 4) -> int:
    """Run `work` with a client; return its exit status, or print what went wrong."""
    from imagemill.client import ApiError, Client, ImagemillError

    try:
        with Client(args.url or _own_url(), key=args.key) as client:
            # At once, without the retries of a request: a person waits.
            client.check_listening()
            return work(client)
    except UsageError as error:
        return complain(str(error), WRONG_USAGE)
    except ValueError as error:
        return complain(str(error), WRONG_USAGE)
    except ApiError as error:
        # 4xx of what was typed, such as an unknown operation or job.
        return complain(str(error), WRONG_USAGE if 400 <= error.status < 429 else FAILED)
    except (ImagemillError, OSError) as error:
        return complain(str(error), FAILED)


def _own_url() -> str | None:
    """Return the URL of this machine's API by its settings; None if the environment names one."""
    import os

    if os.environ.get("IMAGEMILL_URL"):
        return None
    # The settings take a moment to import, which a command with a URL is spared.
    from imagemill.settings import ApiSettings

    api = ApiSettings()
    scheme = "https" if getattr(api, "tls_cert", None) else "http"
    return f"{scheme}://{api.reached_host}:{api.port}"


def complain(sentence: str, status: int) -> int:
    """Print an error; return the exit status."""
    print(f"imagemill: {sentence}", file=sys.stderr)
    return status
