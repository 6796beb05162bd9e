"""`imagemill doctor`: check this machine and the cluster, and say what to do."""

from __future__ import annotations

import argparse
import email.utils
import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from imagemill.cli.services import MODELS, load
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import admin, check_topics
from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.errors import LocalError
from imagemill.local.ports import holder, is_free
from imagemill.local.stack.ready import any_certificate, api_is_ready
from imagemill.local.stack.system import LocalSystem
from imagemill.settings import KafkaSettings
from imagemill.storage import StoreUnavailable, open_store
from imagemill.storage.probe import try_store
from schemas.topics import TOPICS

# Free bytes of the home folder's disk below which it is said.
_SCARCE_BYTES = 2 * 1024**3
# Seconds that two clocks may differ: signed requests and webhooks are refused beyond minutes.
_MAX_SKEW_S = 30.0
_TIMEOUT_S = 10.0


class State(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was found, and what to do unless it is ok."""

    check: str
    state: State
    found: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Make all checks; return 1 if one of them failed."""
    findings = []
    for finding in _findings(LocalSystem()):
        findings.append(finding)
        if not args.json:
            print(f"{finding.state:<8} {finding.check:<8} {finding.found}", flush=True)
    if args.json:
        print(json.dumps([asdict(each) for each in findings], indent=2))
    return 1 if any(each.state is State.FAILED for each in findings) else 0


def _findings(system: LocalSystem) -> Iterator[Finding]:
    yield from _checked("python", _python)
    yield from _checked("disk", lambda: _disk(system))
    kind: BrokerKind | None = None
    try:
        kind = system.broker_kind()
        yield Finding("kafka", State.OK, f"the broker comes from {kind}")
    except LocalError as error:
        yield Finding("kafka", State.FAILED, str(error))
    yield from _checked("ports", lambda: _ports(system))
    yield from _cluster(system, kind)
    yield from _checked("store", lambda: _store(system))
    yield from _checked("models", _models)
    yield from _checked("api", lambda: _api(system))
    yield from _checked("clock", lambda: _clock(system))


def _checked(name: str, check: Callable[[], tuple[State, str]]) -> Iterator[Finding]:
    """Yield the finding of a check; one that raises has failed for the reason in its error."""
    try:
        yield Finding(name, *check())
    except (LocalError, KafkaException, StoreUnavailable, OSError, ValueError) as error:
        yield Finding(name, State.FAILED, str(error))


def _python() -> tuple[State, str]:
    return State.OK, f"Python {sys.version.split()[0]} in {sys.prefix}"


def _disk(system: LocalSystem) -> tuple[State, str]:
    home = system.layout.home
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return State.FAILED, f"{there} cannot be written; set IMAGEMILL_HOME to a folder of yours"
    text = f"{free / 1024**3:.1f} GiB free at {home}"
    if free < _SCARCE_BYTES:
        return State.WARNING, f"{text}; free some, or set IMAGEMILL_HOME to a larger disk"
    return State.OK, text


def _ports(system: LocalSystem) -> tuple[State, str]:
    ours = {service.pid for service in system.services() if service.pid is not None}
    taken = []
    for variable, port in system.wanted_ports():
        if is_free(port, system.api.host):
            continue
        by = holder(port) or "another program"
        if not any(f"(pid {pid})" in by for pid in ours):
            taken.append(f"port {port} is taken by {by}: stop it, or set {variable}")
    if taken:
        return State.FAILED, "; ".join(taken)
    return State.OK, "free, or held by the services of this system"


def _cluster(system: LocalSystem, kind: BrokerKind | None) -> Iterator[Finding]:
    settings = _clients(system, kind)
    if settings is None:
        yield Finding("broker", State.WARNING, "does not run; start it by `imagemill up`")
        return
    where = settings.kafka_bootstrap_servers
    try:
        metadata = admin(settings, []).list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        yield Finding(
            "broker",
            State.FAILED,
            f"{where} does not answer ({error}); check KAFKA_BOOTSTRAP_SERVERS and docs/kafka.md",
        )
        return
    yield Finding("broker", State.OK, f"{len(metadata.brokers)} brokers behind {where}")
    yield from _checked("topics", lambda: _topics(settings))
    yield from _checked("acls", lambda: _permissions(settings))


def _clients(system: LocalSystem, kind: BrokerKind | None) -> KafkaSettings | None:
    """Return the settings of the cluster's clients; None while the local broker does not run."""
    if kind is None:
        return None
    try:
        settings = system.clients(kind)
    except FileNotFoundError:  # its ports were never chosen
        return None
    if kind is BrokerKind.EXTERNAL or system.supervisor.running():
        return settings
    return None


def _topics(settings: KafkaSettings) -> tuple[State, str]:
    try:
        check_topics(settings)
    except (KafkaUnavailable, TopicsMissing) as error:
        return State.FAILED, f"{error}; create them by `imagemill topics create`"
    return State.OK, f"all {len(TOPICS)} are there"


def _permissions(settings: KafkaSettings) -> tuple[State, str]:
    names = [settings.topic(topic.name) for topic in TOPICS]
    # Held until the answers are there: a client that is collected drops its requests.
    client = admin(settings, [])
    described = client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=_TIMEOUT_S
    )
    needed = {AclOperation.READ, AclOperation.WRITE}
    lacking = []
    for name, answer in described.items():
        operations = answer.result().authorized_operations
        # None: the broker does not say.
        if operations is not None and (missing := needed - set(operations)):
            lacking.append(f"{name} ({', '.join(sorted(each.name for each in missing))})")
    if lacking:
        return (
            State.WARNING,
            f"this user lacks {', '.join(lacking)}; docs/events.md lists what each service needs",
        )
    return State.OK, "this user may read and write all topics"


def _store(system: LocalSystem) -> tuple[State, str]:
    store = open_store(system.api)
    store.check()
    try_store(store)
    return State.OK, f"{type(store).__name__} takes, gives and deletes objects"


def _models() -> tuple[State, str]:
    folder = Path(os.devnull)
    with folder.open("w") as quiet:
        kept, sys.stdout = sys.stdout, quiet
        try:
            status = load(MODELS)(["verify"])
        finally:
            sys.stdout = kept
    if status:
        return State.FAILED, "a model is missing or damaged; `imagemill models fetch --default`"
    return State.OK, "the installed models are whole"


def _api(system: LocalSystem) -> tuple[State, str]:
    if api_is_ready(system.api):
        return State.OK, f"ready at {system.url}"
    return State.WARNING, f"not ready at {system.url}; `imagemill status` says which services run"


def _clock(system: LocalSystem) -> tuple[State, str]:
    api = system.api
    host = f"{api.reached_host}:{api.port}"
    connection = http.client.HTTPConnection(host, timeout=5)
    if system.url.startswith("https"):
        connection = http.client.HTTPSConnection(host, timeout=5, context=any_certificate())
    try:
        connection.request("GET", "/healthz")
        date = connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException):
        return State.OK, "not compared: the API does not answer"
    finally:
        connection.close()
    if date is None:
        return State.OK, "not compared: the API sends no date"
    skew_s = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    if abs(skew_s) > _MAX_SKEW_S:
        return State.FAILED, f"{skew_s:+.0f} s apart from the API's; set both by NTP"
    return State.OK, f"{abs(skew_s):.0f} s apart from the API's"
