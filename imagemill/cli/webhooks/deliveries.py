"""`imagemill webhooks deliveries`: list, show, replay; and `replay` of all that failed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imagemill.cli.client.connection import quoted
from imagemill.cli.output import print_fields, print_json, print_table
from imagemill.cli.webhooks.endpoints import print_posted

if TYPE_CHECKING:
    from imagemill.client import Client

_WAIT_S = 20
_STATUSES = ("pending", "delivered", "failed")


def arguments(groups: Any, common: argparse.ArgumentParser) -> None:
    """Declare the actions on deliveries."""
    summary = "list, show or replay deliveries"
    group = groups.add_parser("deliveries", help=summary, description=summary)
    actions = group.add_subparsers(dest="action", metavar="action", required=True)

    summary = "list deliveries, newest first"
    listing = actions.add_parser("list", parents=[common], help=summary, description=summary)
    listing.add_argument("--endpoint", metavar="ID", help="only those to this endpoint")
    listing.add_argument("--job", metavar="ID", help="only those of this job")
    listing.add_argument("--status", choices=_STATUSES, help="only those in this status")
    listing.add_argument("--limit", type=int, metavar="N", help="most to list, up to 100")
    listing.add_argument("--cursor", help="next_cursor of the page before")
    listing.set_defaults(act=_list)
    for name, act, summary in (
        ("show", _show, "show a delivery and its attempts"),
        ("replay", _replay, "post a delivery once more"),
    ):
        parser = actions.add_parser(name, parents=[common], help=summary, description=summary)
        parser.add_argument("id", help="id of the delivery, the webhook-id of its posts")
        parser.set_defaults(act=act)

    summary = "post all deliveries once more that have failed since a time"
    replay = groups.add_parser("replay", parents=[common], help=summary, description=summary)
    replay.add_argument("endpoint", help="id of the endpoint")
    replay.add_argument(
        "--since", required=True, metavar="TIME", help="such as 2026-01-31T12:00:00Z"
    )
    replay.set_defaults(act=_replay_failed)


def _list(client: Client, args: argparse.Namespace) -> None:
    query = {
        "endpoint_id": args.endpoint,
        "job_id": args.job,
        "status": args.status,
        "limit": args.limit,
        "cursor": args.cursor,
    }
    document = client.request("GET", "/v1/webhooks/deliveries", query=query)
    if args.json:
        print_json(document)
        return
    rows = [
        (each["id"], each["status"], each["event"], each["last_at"], each["job_id"], each["url"])
        for each in document["deliveries"]
    ]
    print_table(("id", "status", "event", "last attempt", "job", "url"), rows)
    if document["next_cursor"]:
        print(f"more: --cursor {document['next_cursor']}")


def _show(client: Client, args: argparse.Namespace) -> None:
    delivery = client.request("GET", f"/v1/webhooks/deliveries/{quoted(args.id)}")
    attempts = client.request("GET", f"/v1/webhooks/deliveries/{quoted(args.id)}/attempts")[
        "attempts"
    ]
    if args.json:
        print_json(delivery | {"attempts": attempts})
        return
    print_fields(delivery)
    rows = [
        (each["at"], each["trigger"], f"{each['duration_ms']:.0f} ms", each["status"],
         each["message"] or "accepted", each["response"])
        for each in attempts
    ]  # fmt: skip
    if rows:
        print()
        print_table(("attempt at", "cause", "took", "status", "outcome", "answer"), rows)


def _replay(client: Client, args: argparse.Namespace) -> None:
    print_posted(
        client.request("POST", f"/v1/webhooks/deliveries/{quoted(args.id)}/replay", wait_s=_WAIT_S),
        args,
    )


def _replay_failed(client: Client, args: argparse.Namespace) -> None:
    replayed, not_kept, since = 0, 0, args.since
    while since is not None:
        document = client.request(
            "POST", f"/v1/webhooks/endpoints/{quoted(args.endpoint)}/replay", json={"since": since}
        )
        replayed += document["replayed"]
        not_kept += document["not_kept"]
        # A request replays so many; the next one begins where it ended.
        since = document["next_since"] if document["next_since"] != since else None
    if args.json:
        print_json({"replayed": replayed, "not_kept": not_kept})
        return
    print(f"{replayed} posted once more")
    if not_kept:
        print(f"{not_kept} not posted: their bodies were too large to be kept")
