"""`imagemill retention`: remove jobs and files past the retention time, or list them."""

from __future__ import annotations

import argparse

from imagemill.cli.services import RETENTION, load
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.local.errors import LocalError
from imagemill.settings import ApiSettings
from imagemill.storage import StoreError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option to list only."""
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be removed, and remove nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Remove once what is past the retention time, and list it."""
    settings = ApiSettings()
    try:
        check_topics(settings)
        sweep = load(RETENTION)(dry_run=args.dry_run)
    except (KafkaUnavailable, TopicsMissing, StoreError) as error:
        raise LocalError(str(error)) from error
    for job in sweep.jobs:
        print(f"job   {job.job_id}  ended {job.ended_at}  {job.operation}")
    for key in sweep.orphans:
        print(f"file  {key}")
    done = "would be removed" if args.dry_run else "removed"
    print(f"{len(sweep.jobs)} jobs and {len(sweep.orphans)} files without a job {done}")
    return 0
