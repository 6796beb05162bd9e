"""`imagemill up`: from nothing to a first cut-out, and to services that keep running."""

from __future__ import annotations

import argparse

from imagemill.cli.prepare import ensure_key, ensure_models, ensure_topics
from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.errors import LocalError
from imagemill.local.stack.programs import API, NOTIFIER, PROCESSOR
from imagemill.local.stack.ready import wait_until_ready
from imagemill.local.stack.sample import KeyNeeded, send_sample
from imagemill.local.stack.system import LocalSystem, PortTaken
from imagemill.storage import open_store

# Attempts to start a broker on ports that nobody else takes meanwhile.
_BROKER_ATTEMPTS = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the number of processors."""
    parser.add_argument(
        "--processors",
        type=int,
        default=1,
        metavar="N",
        help="processor processes to run (default 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Start everything and send a sample photo; services that run unchanged are left alone."""
    if args.processors < 1:
        raise LocalError("--processors must be 1 or more")
    system = LocalSystem(args.processors)
    with system.alone(lambda: _say("Another `imagemill up` of this home runs; waiting for it ...")):
        kind, key = _start(system)
    _say(
        f"""
{_sample(system, key)}
  console   {system.url}/
  broker    {system.bootstrap(kind)}
  logs      {system.layout.logs}

`make down` stops it and keeps the data."""
    )
    return 0


def _sample(system: LocalSystem, key: str | None) -> str:
    """Send a sample photo through the system; return what to say of it.

    `key` is the API key that was made just now; former ones are known to their owners alone.
    """
    if system.api.tls_client_ca is not None:
        return """\
imagemill is up. No sample photo was sent, as the API asks for client certificates.
"""
    try:
        sample = send_sample(system.url, system.layout.sample, key)
    except KeyNeeded:
        return """\
imagemill is up. No sample photo was sent, as the API asks for a key.
"""
    return f"""\
imagemill is up: a photo became a cut-out in {sample.seconds:.1f} s.

  photo     {sample.photo}
  cut-out   {sample.cutout}"""


def _start(system: LocalSystem) -> tuple[BrokerKind, str | None]:
    """Start the services; return where the broker is, and the first API key if one was made."""
    # A store that cannot be used is reported once here, not by each service in its log.
    open_store(system.api)
    kind = system.broker_kind()
    if kind is BrokerKind.JARS:
        _say("Kafka: looking for Java and the broker's jars ...")
    system.fetch_broker(kind)
    ensure_models(some=True)
    _start_broker(system, kind)
    ensure_topics(system.clients(kind))
    key = ensure_key(system.api_on(kind))
    for name in (API, PROCESSOR, NOTIFIER):
        system.supervisor.start(name)
    _say("Waiting for the services ...")
    wait_until_ready(system)
    return kind, key


def _start_broker(system: LocalSystem, kind: BrokerKind) -> None:
    for attempt in range(1, _BROKER_ATTEMPTS + 1):
        if system.launch(kind):
            _say("Starting the broker ..." if kind is not BrokerKind.EXTERNAL else "Starting ...")
        try:
            return system.start_broker(kind)
        except PortTaken as error:
            # Taken since it was found free. Its other clients read the ports at launch only.
            system.down()
            if attempt == _BROKER_ATTEMPTS:
                raise
            _say(f"{error}; choosing others ...")


def _say(text: str) -> None:
    print(text, flush=True)
