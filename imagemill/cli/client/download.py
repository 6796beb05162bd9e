"""`imagemill download`: fetch the results of a job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import (
    FAILED,
    UsageError,
    complain,
    connection_arguments,
    json_argument,
    with_client,
)
from imagemill.cli.client.paths import Source, Targets
from imagemill.cli.client.run import suffix_of
from imagemill.cli.output import print_json

if TYPE_CHECKING:
    from imagemill.client import Client, Result


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job and the folder."""
    parser.add_argument("job", metavar="ID", help="id of the job")
    parser.add_argument(
        "-o", "--out", default=".", metavar="FOLDER", help="folder for the files (default here)"
    )
    parser.add_argument("--index", type=int, metavar="N", help="one item alone, counted from 0")
    json_argument(parser)
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch the results; return 1 if an item has none."""
    return with_client(args, lambda client: _download(args, client))


def _download(args: argparse.Namespace, client: Client) -> int:
    from imagemill.client import JobFailed

    job = client.get(args.job)
    wanted = range(len(job.items)) if args.index is None else [args.index]
    if args.index is not None and not 0 <= args.index < len(job.items):
        raise UsageError(f"job {job.id} has items 0 to {len(job.items) - 1}.")
    targets, facts, failed = Targets(Path(args.out)), [], 0
    for index in wanted:
        try:
            path = _write(client.result(job, index), targets)
        except JobFailed as error:
            failed += 1
            complain(f"item {index}: {error}", FAILED)
            continue
        facts.append({"index": index, "result": str(path)})
        if not args.json:
            print(path)
    if args.json:
        print_json(facts)
    return FAILED if failed else 0


def _write(result: Result, targets: Targets) -> Path:
    item = result.item
    # The client's own name for the file, without the folders that somebody may have put in it.
    name = Path((item.filename or "").replace("\\", "/")).name
    below = Path(name if name.strip(".") else f"{result.job.id}-{item.index}.x")
    stem = targets.stem(Source(f"{item.index}", below))
    path = stem.with_name(stem.name + suffix_of(result.content_type))
    path.parent.mkdir(parents=True, exist_ok=True)
    if result.content is None:
        path.write_text(json.dumps(result.data, ensure_ascii=False), encoding="utf-8")
        return path
    return result.save(path)
