"""`imagemill keys`: create, list, revoke and rotate API keys, on the Kafka topics themselves."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any

from imagemill.cli.services import KEYS, load
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.local.errors import LocalError
from imagemill.settings import ApiSettings
from schemas.access import USUAL_SCOPES, Scope
from schemas.jobs import Priority
from schemas.times import from_epoch

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
# Options of `create` that go into the key under their own name.
_PLAIN = (
    "name",
    "owner",
    "max_priority",
    "weight",
    "requests_per_s",
    "images_per_day",
    "megapixels_per_day",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = _action(actions, "create", "make a key and print its secret, once")
    _declare_rights(create)
    _action(actions, "list", "list all keys, with their last use")
    revoke = _action(actions, "revoke", "refuse a key from now on, for good")
    rotate = _action(actions, "rotate", "give a key another secret and print it, once")
    for action in (revoke, rotate):
        action.add_argument("key_id", metavar="ID", help="id of the key, as `list` prints it")
    rotate.add_argument(
        "--overlap",
        type=_seconds,
        default=86_400,
        metavar="TIME",
        help="how long the former secret stays valid, such as 30m, 24h or 0s (default 24h)",
    )


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=summary, description=summary)
    action.add_argument("--json", action="store_true", help="print JSON, for programs")
    return action


def _declare_rights(create: argparse.ArgumentParser) -> None:
    create.add_argument("--name", required=True, help="name of the key, for people")
    create.add_argument("--owner", help="account of its jobs; the key's own id by default")
    create.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        help=f"a scope of the key, repeatable (default {', '.join(USUAL_SCOPES)})",
    )
    create.add_argument("--admin", action="store_true", help="give it every scope")
    create.add_argument(
        "--expires",
        type=_time,
        metavar="TIME",
        help="time from which it is refused: 90d from now, or 2027-01-31T00:00:00Z",
    )
    create.add_argument("--max-priority", choices=[each.value for each in Priority])
    create.add_argument("--weight", type=int, help="share of the workers' time, 1 to 100")
    create.add_argument("--requests-per-s", type=float, metavar="N")
    create.add_argument("--images-per-day", type=int, metavar="N")
    create.add_argument("--megapixels-per-day", type=float, metavar="N")
    create.add_argument("--no-webhooks", action="store_true", help="jobs may name no webhook URL")
    create.add_argument("--no-urls", action="store_true", help="jobs may name no image URL")
    create.add_argument(
        "--all-owners", action="store_true", help="let it see everybody's jobs, not only its own"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action; bad input is one sentence and exit status 2."""
    settings = ApiSettings()
    try:
        check_topics(settings)
        found = load(KEYS)(settings, args.action, _request(args))
    except (KafkaUnavailable, TopicsMissing) as error:
        raise LocalError(str(error)) from error
    assert isinstance(found, dict)
    if "refused" in found:
        print(f"imagemill: {found['refused']}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(found, indent=2))
    elif args.action == "list":
        _print_list(found["keys"])
    elif args.action == "revoke":
        print(f"The key {found['id']} is revoked: within a second no API takes it any more.")
    else:
        print_new(found)
    return 0


def _request(args: argparse.Namespace) -> dict[str, Any]:
    if args.action == "rotate":
        return {"key_id": args.key_id, "overlap_s": args.overlap}
    if args.action == "revoke":
        return {"key_id": args.key_id}
    if args.action == "list":
        return {}
    chosen = {name: getattr(args, name) for name in _PLAIN if getattr(args, name) is not None}
    if args.admin or args.scope:
        chosen["scopes"] = [*Scope] if args.admin else args.scope
    if args.expires is not None:
        chosen["expires_at"] = args.expires
    denied = {
        "webhooks_allowed": args.no_webhooks,
        "urls_allowed": args.no_urls,
        "own_only": args.all_owners,
    }
    return chosen | {name: False for name, deny in denied.items() if deny}


def print_new(key: dict[str, Any]) -> None:
    """Print a key with its secret."""
    print(f"key     {key['id']}")
    print(f"name    {key['name']}")
    print(f"scopes  {' '.join(key['scopes'])}")
    print(f"secret  {key['secret']}")
    print("The secret is shown this once. Send it as `Authorization: Bearer <secret>`.", flush=True)


def _print_list(keys: list[dict[str, Any]]) -> None:
    print(f"{'id':<14}{'status':<9}{'ends in':<9}{'last used':<26}{'owner':<16}name")
    for key in keys:
        ends = key["secrets"][-1]["last_four"]
        used = key["last_used_at"] or "never"
        owner = "itself" if key["owner"] == key["id"] else key["owner"]
        print(f"{key['id']:<14}{key['status']:<9}{ends:<9}{used:<26}{owner:<16}{key['name']}")


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m, 24h or 90d")
    return int(found[1]) * _UNITS_S[found[2]]


def _time(text: str) -> str:
    return from_epoch(time.time() + _seconds(text)) if _DURATION.fullmatch(text) else text
