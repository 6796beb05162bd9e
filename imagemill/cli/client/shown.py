"""Jobs as the commands print them: one as lines, several as a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import FAILED
from imagemill.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from imagemill.client import Job


def show_job(job: Job, args: argparse.Namespace) -> int:
    """Print a job; return 1 if it has ended without success, else 0."""
    if args.json:
        print_json(job.model_dump(mode="json", by_alias=True))
    else:
        progress = job.progress
        print(f"{job.id}  {job.operation}  {job.status}  {progress.processed}/{progress.total}")
        if job.error is not None:
            print(f"  {job.error.code}: {job.error.message}")
        if len(job.items) > 1:
            for item in job.items:
                reason = f"  {item.error.code}: {item.error.message}" if item.error else ""
                print(f"  {item.index:>4}  {item.status}  {plain(item.filename or '')}{reason}")
    return FAILED if job.ended and not job.succeeded else 0


def show_jobs(jobs: Iterable[Job], args: argparse.Namespace) -> None:
    """Print a table of jobs."""
    listed = list(jobs)
    if args.json:
        print_json([job.model_dump(mode="json", by_alias=True) for job in listed])
        return
    print_table(
        ("id", "operation", "priority", "status", "done", "created"),
        [
            (
                job.id,
                job.operation,
                job.priority,
                job.status,
                f"{job.progress.processed}/{job.progress.total}",
                job.created_at,
            )
            for job in listed
        ],
    )
