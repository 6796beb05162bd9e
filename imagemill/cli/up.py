"""`imagemill up`: from nothing to a first cut-out, and to services that keep running."""

from __future__ import annotations

import argparse

from imagemill.cli.prepare import ensure_models, ensure_topics
from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.errors import LocalError
from imagemill.local.stack.ready import wait_until_ready
from imagemill.local.stack.sample import send_sample
from imagemill.local.stack.supervision import API, NOTIFIER, PROCESSOR
from imagemill.local.stack.system import LocalSystem
from imagemill.storage import open_store


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how many processors."""
    parser.add_argument(
        "--processors", type=int, default=1, metavar="N", help="processor processes (default 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Bring everything up; what is there and runs already is left as it is."""
    if args.processors < 1:
        raise LocalError("--processors must be 1 or more")
    system = LocalSystem(args.processors)
    # What keeps the services from their store is said here, not by each of them again and again.
    open_store(system.api)
    kind = system.broker_kind()
    if kind is BrokerKind.JARS:
        _say("Kafka: looking for Java and the broker's jars ...")
    system.fetch_broker(kind)
    ensure_models(some=True)
    if system.launch(kind):
        _say("Starting the broker ..." if kind is not BrokerKind.EXTERNAL else "Starting ...")
    system.start_broker(kind)
    ensure_topics(system.clients(kind))
    for name in (API, PROCESSOR, NOTIFIER):
        system.supervisor.start(name)
    _say("Waiting for the services ...")
    wait_until_ready(system)
    sample = send_sample(system.url, system.layout.sample)
    _say(
        f"""
imagemill is up: a photo became a cut-out in {sample.seconds:.1f} s.

  photo     {sample.photo}
  cut-out   {sample.cutout}
  console   {system.url}/
  broker    {system.bootstrap(kind)}
  logs      {system.layout.logs}

`make down` stops it and keeps the data."""
    )
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
