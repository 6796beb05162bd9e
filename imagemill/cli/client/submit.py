"""`imagemill submit`: queue a job and print its id."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import (
    UsageError,
    connection_arguments,
    json_argument,
    operation_arguments,
    params_of,
    with_client,
)
from imagemill.cli.output import print_json

if TYPE_CHECKING:
    from imagemill.client import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the images and what is done to them."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="file or URL; all make one job")
    operation_arguments(parser)
    parser.add_argument("--template", metavar="NAME", help="template to take operations from")
    parser.add_argument("--webhook", metavar="URL", help="URL that gets a POST at the job's end")
    parser.add_argument(
        "--idempotency-key",
        metavar="TEXT",
        help="the same key and request make the same job, however often they are sent",
    )
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Queue the job."""
    return with_client(args, lambda client: _submit(args, client))


def _submit(args: argparse.Namespace, client: Client) -> int:
    if args.template and args.op:
        raise UsageError("give --op or --template, not both.")
    operation = args.op or (None if args.template else "remove-background")
    job = client.submit(
        args.images,
        operation,
        params_of(args),
        priority=args.priority,
        template=args.template,
        webhook_url=args.webhook,
        idempotency_key=args.idempotency_key,
    )
    if args.json:
        print_json(job.model_dump(mode="json", by_alias=True))
    else:
        print(job.id)
    return 0
