"""`imagemill webhooks endpoints`: list, create, change, delete, test; rotate the secret."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imagemill.cli.client.connection import quoted
from imagemill.cli.output import print_fields, print_json, print_table

if TYPE_CHECKING:
    from imagemill.client import Client

# Seconds that a test event is waited for: longer than the notifier waits for a receiver.
_WAIT_S = 20


def arguments(groups: Any, common: argparse.ArgumentParser) -> None:
    """Declare the actions on endpoints."""
    summary = "list, create, show, update, delete or test endpoints, rotate their secrets"
    group = groups.add_parser("endpoints", help=summary, description=summary)
    actions = group.add_subparsers(dest="action", metavar="action", required=True)

    def action(name: str, act: Any, summary: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, parents=[common], help=summary, description=summary)
        parser.set_defaults(act=act)
        return parser

    action("list", _list, "list all endpoints")
    create = action("create", _create, "create an endpoint, and print its secret")
    create.add_argument("address", metavar="URL", help="URL that gets a POST for each event")
    create.add_argument("--secret", help="whsec_... or whsk_...; made if left out")
    create.add_argument("--signature", choices=("v1", "v1a"), help="kind of secret to make")
    create.add_argument("--disabled", action="store_true", default=None, help="post nothing yet")
    update = action("update", _update, "change an endpoint")
    update.add_argument("id", help="id of the endpoint")
    update.add_argument(
        "--to", dest="address", metavar="URL", help="URL that gets a POST for each event"
    )
    state = update.add_mutually_exclusive_group()
    state.add_argument("--enable", action="store_false", dest="disabled", help="post to it again")
    state.add_argument("--disable", action="store_true", dest="disabled", help="post nothing")
    update.set_defaults(disabled=None)
    for parser in (create, update):
        _body_arguments(parser)
    for name, act, summary in (
        ("show", _show, "show an endpoint"),
        ("secret", _secret, "print an endpoint's secret"),
        ("delete", _delete, "delete an endpoint"),
    ):
        action(name, act, summary).add_argument("id", help="id of the endpoint")
    rotate = action("rotate", _rotate, "give an endpoint a new secret, and print it")
    rotate.add_argument("id", help="id of the endpoint")
    rotate.add_argument("--secret", help="whsec_... or whsk_...; made if left out")
    rotate.add_argument("--signature", choices=("v1", "v1a"), help="kind of secret to make")
    rotate.add_argument(
        "--overlap-s", type=int, metavar="S", help="seconds for which the old one signs too"
    )
    test = action("test", _test, "post a test event")
    test.add_argument("id", help="id of the endpoint")
    test.add_argument("--event", metavar="TYPE", help="type of the event; job.finished by default")


def _body_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--event", action="append", dest="events", metavar="TYPE",
        help="type of event to post, such as job.finished; may be repeated",
    )  # fmt: skip
    parser.add_argument("--description", metavar="TEXT", help="text for people")
    parser.add_argument(
        "--header", action="append", dest="headers", metavar="NAME=VALUE", type=_header,
        help="header to send along; may be repeated. NAME= removes one",
    )  # fmt: skip
    parser.add_argument("--body", choices=("full", "thin"), help="thin: ids and links, no data")


def _header(text: str) -> tuple[str, str | None]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
    return name, value or None


def _body(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the arguments give."""
    names = ("events", "description", "secret", "signature", "body", "disabled")
    given = {name: getattr(args, name, None) for name in names}
    body = {name: value for name, value in given.items() if value is not None}
    if args.address is not None:
        body["url"] = args.address
    if args.headers:
        body["headers"] = dict(args.headers)
    return body


def _list(client: Client, args: argparse.Namespace) -> None:
    document = client.request("GET", "/v1/webhooks/endpoints")
    if args.json:
        print_json(document)
        return
    rows = [
        (each["id"], "disabled" if each["disabled"] else "enabled", ",".join(each["events"]),
         each["url"], each["description"])
        for each in document["endpoints"]
    ]  # fmt: skip
    print_table(("id", "state", "events", "url", "description"), rows)


def _create(client: Client, args: argparse.Namespace) -> None:
    _print(client.request("POST", "/v1/webhooks/endpoints", json=_body(args)), args)


def _update(client: Client, args: argparse.Namespace) -> None:
    _print(
        client.request("PATCH", f"/v1/webhooks/endpoints/{quoted(args.id)}", json=_body(args)), args
    )


def _show(client: Client, args: argparse.Namespace) -> None:
    _print(client.request("GET", f"/v1/webhooks/endpoints/{quoted(args.id)}"), args)


def _secret(client: Client, args: argparse.Namespace) -> None:
    _print(client.request("GET", f"/v1/webhooks/endpoints/{quoted(args.id)}/secret"), args)


def _delete(client: Client, args: argparse.Namespace) -> None:
    client.request("DELETE", f"/v1/webhooks/endpoints/{quoted(args.id)}")
    if not args.json:
        print(f"deleted {args.id}")


def _rotate(client: Client, args: argparse.Namespace) -> None:
    given = {name: getattr(args, name) for name in ("secret", "signature", "overlap_s")}
    body = {name: value for name, value in given.items() if value is not None}
    _print(
        client.request(
            "POST", f"/v1/webhooks/endpoints/{quoted(args.id)}/secret/rotate", json=body
        ),
        args,
    )


def _test(client: Client, args: argparse.Namespace) -> None:
    body = {"event": args.event} if args.event else {}
    print_posted(
        client.request(
            "POST", f"/v1/webhooks/endpoints/{quoted(args.id)}/test", json=body, wait_s=_WAIT_S
        ),
        args,
    )


def print_posted(document: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the outcome of a test event or a replay."""
    if args.json:
        print_json(document)
        return
    attempt = document["attempt"]
    if attempt is None:
        print(f"{document['delivery_id']} is about to be posted")
        return
    outcome = attempt["message"] or f"The receiver accepted it with status {attempt['status']}."
    print_fields(
        {
            "delivery": document["delivery_id"],
            "outcome": outcome,
            "took": f"{attempt['duration_ms']:.0f} ms",
            "answer": attempt["response"],
        }
    )


def _print(document: dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        print_json(document)
    else:
        print_fields(document)
