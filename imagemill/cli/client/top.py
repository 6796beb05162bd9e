"""`imagemill top`: a live view of queues, workers, rates and the last failures."""

from __future__ import annotations

import argparse
import itertools
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from imagemill.cli.client.connection import UsageError, connection_arguments, with_client
from imagemill.cli.client.stats import queues_of
from imagemill.cli.output import plain

if TYPE_CHECKING:
    from imagemill.client import Client, Job

_FAILURES = 8
_RECENT = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how often it looks."""
    parser.add_argument(
        "-d",
        "--delay",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="between looks (default 2)",
    )
    parser.add_argument(
        "-n", "--looks", type=int, metavar="N", help="looks until it ends (default: until Ctrl+C)"
    )
    connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Show the view until Ctrl+C."""
    return with_client(args, lambda client: _watch(args, client))


def _watch(args: argparse.Namespace, client: Client) -> int:
    from rich.live import Live

    if args.delay <= 0:
        raise UsageError("--delay must be above 0.")
    looks = itertools.count() if args.looks is None else range(args.looks)
    with Live(_view(client), auto_refresh=False) as live:
        for number in looks:
            if number:
                time.sleep(args.delay)
                live.update(_view(client))
            live.refresh()
    return 0


def _view(client: Client) -> Any:
    from rich.console import Group

    stats, workers = client.stats(), client.workers()["workers"]
    failed = list(islice(client.list(status="failed", limit=_FAILURES), _FAILURES))
    ended = list(islice(client.list(status="succeeded", limit=_RECENT), _RECENT))
    return Group(
        _summary(stats, ended),
        _table("Queues", *queues_of(stats)),
        _table("Workers", ["worker", "busy", "waiting", "beat", "version"], _workers(workers)),
        _table("Last failures", ["job", "operation", "ended", "reason"], _failures(failed)),
    )


def _summary(stats: dict[str, Any], ended: list[Job]) -> str:
    rates, workers = stats["rates"], stats["workers"]
    parts = [
        f"{rates['submitted_per_s']:g} in, {rates['ended_per_s']:g} out a second",
        f"{workers['busy']} of {workers['slots']} slots busy",
    ]
    if stats["oldest_queued_age_s"] is not None:
        parts.append(f"oldest waits {stats['oldest_queued_age_s']:.1f} s")
    if ended:
        half, most = latency_s(ended)
        parts.append(f"last {len(ended)}: p50 {half:.2f} s, p95 {most:.2f} s")
    if not stats["current"]:
        parts.append("the broker cannot be asked")
    return "  ·  ".join(parts)


def latency_s(ended: list[Job]) -> tuple[float, float]:
    """Return the median and the 95th percentile of the seconds from submit to end."""
    from schemas.times import elapsed_ms

    took = sorted(elapsed_ms(job.created_at, job.finished_at or "") / 1000 for job in ended)
    return took[(len(took) - 1) // 2], took[(len(took) - 1) * 95 // 100]


def _workers(workers: list[dict[str, Any]]) -> list[list[Any]]:
    return [
        [
            worker["worker_id"],
            f"{worker['busy']}/{worker['slots']}",
            worker.get("waiting", "-"),
            f"{worker['age_s']:.0f} s ago" if worker["alive"] else f"gone {worker['age_s']:.0f} s",
            worker.get("version", "-"),
        ]
        for worker in workers
    ]


def _failures(jobs: list[Job]) -> list[list[Any]]:
    return [
        [job.id, job.operation, job.finished_at, f"{job.error.code}: {job.error.message}"]
        for job in jobs
        if job.error is not None
    ]


def _table(title: str, heads: list[str], rows: list[list[Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="ellipsis", no_wrap=True)
    for row in rows:
        # As text, not as rich's markup: names and messages come from clients.
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
