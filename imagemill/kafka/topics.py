"""The topics on the cluster: created, and checked against the table in schemas.topics."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from imagemill.kafka.config import client_config
from imagemill.kafka.errors import KafkaUnavailable, TopicsDiffer, TopicsMissing
from imagemill.kafka.topic_config import differing
from imagemill.settings import KafkaSettings
from imagemill.settings.environment import SettingsInvalid
from schemas.topics import TOPICS, Topic

log = logging.getLogger(__name__)

_OPTIONAL = sorted(
    {name for topic in TOPICS for name in topic.config().keys() - topic.required_config()}
)


def admin(settings: KafkaSettings, heard: list[KafkaError] | None = None) -> AdminClient:
    """Create an admin client of the cluster.

    With a list `heard`, errors of its connections go there when the client is polled and are not
    logged; while the cluster is away they are about twenty lines a second.

    Raises:
        SettingsInvalid: a certificate or key cannot be used.
    """
    # Level 5 leaves out librdkafka's notes, such as one on its own queue when a client ends.
    options: dict[str, Any] = {"socket.timeout.ms": 10_000, "log_level": 5}
    if heard is not None:
        options |= {"log_level": 0, "error_cb": heard.append}
    try:
        return AdminClient(client_config(settings) | options)
    except KafkaException as error:
        raise SettingsInvalid(
            f"the settings of Kafka do not work: {error.args[0].str()}"
        ) from error


def refusal(heard: Iterable[KafkaError]) -> str | None:
    """Return the error of a refused login or an untrusted certificate, None if there is none."""
    for error in heard:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            return error.str()
    return None


def last_trouble(heard: Iterable[KafkaError]) -> str | None:
    """Return the reason that the last connection failed, None if there is none."""
    troubles = [each.str() for each in heard if each.code() != KafkaError._ALL_BROKERS_DOWN]
    return troubles[-1] if troubles else None


@contextmanager
def _answering(settings: KafkaSettings) -> Iterator[AdminClient]:
    """Provide a client; raises KafkaUnavailable if the cluster does not answer it."""
    heard: list[KafkaError] = []
    client = admin(settings, heard)
    try:
        yield client
    except KafkaException as error:
        client.poll(0)
        where = settings.kafka_bootstrap_servers
        if refused := refusal(heard):
            message = f"the Kafka cluster at {where} refuses us: {refused}"
        else:
            reason = last_trouble(heard) or error.args[0].str()
            message = f"no Kafka broker answered at {where} ({reason})"
        raise KafkaUnavailable(message) from error


def _partitions(client: AdminClient, timeout_s: float) -> dict[str, int]:
    """Return the partition counts of the cluster's topics."""
    topics = client.list_topics(timeout=timeout_s).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def create_topics(settings: KafkaSettings, *, timeout_s: float = 30.0) -> list[str]:
    """Create the topics that are missing and return their names; safe to repeat.

    Raises:
        KafkaUnavailable: no broker answered in time.
        TopicsMissing: a topic could not be created, or exists with other settings.
    """
    with _answering(settings) as client:
        present = _partitions(client, timeout_s)
    missing = [topic for topic in TOPICS if settings.topic(topic.name) not in present]
    created = [settings.topic(topic.name) for topic in missing]
    if failures := _create(settings, missing, timeout_s):
        raise TopicsMissing("topics could not be created: " + "; ".join(failures))
    _await_topics(settings, timeout_s)
    return created


def _await_topics(settings: KafkaSettings, timeout_s: float) -> None:
    """Check the topics until they pass: a broker lists new ones only after a moment."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check_topics(settings, timeout_s=timeout_s)
        except TopicsDiffer:
            raise
        except TopicsMissing:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _create(settings: KafkaSettings, topics: Sequence[Topic], timeout_s: float) -> list[str]:
    """Create topics; return a sentence for each that failed."""
    client = admin(settings)  # kept until the futures are done: its end cancels them
    failures = _try_to_create(client, settings, [(t, t.config()) for t in topics], timeout_s)
    reduced = [
        (topic, topic.required_config())
        for topic in topics
        if topic in failures and may_create_reduced(topic, failures[topic])
    ]
    if reduced:
        names = ", ".join(topic.name for topic, _ in reduced)
        log.warning("the cluster sets no %s; creating %s without", ", ".join(_OPTIONAL), names)
        for topic, _ in reduced:
            del failures[topic]
        failures |= _try_to_create(client, settings, reduced, timeout_s)
    return [f"{settings.topic(topic.name)}: {error.str()}" for topic, error in failures.items()]


def may_create_reduced(topic: Topic, error: KafkaError) -> bool:
    """Return True if the cluster may take the topic without the settings it can do without."""
    refused = error.code() in (
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
    )
    return refused and topic.config() != topic.required_config()


def _try_to_create(
    client: AdminClient,
    settings: KafkaSettings,
    topics: Iterable[tuple[Topic, Mapping[str, str]]],
    timeout_s: float,
) -> dict[Topic, KafkaError]:
    """Ask once for the topics with these configurations; return the errors of those that failed."""
    asked = {
        settings.topic(topic.name): (
            topic,
            NewTopic(
                settings.topic(topic.name),
                num_partitions=topic.partition_count(settings.topic_partitions),
                replication_factor=settings.topic_replication_factor,
                config=dict(config),
            ),
        )
        for topic, config in topics
    }
    failures: dict[Topic, KafkaError] = {}
    if not asked:
        return failures
    new = [topic for _, topic in asked.values()]
    for name, future in client.create_topics(new, operation_timeout=timeout_s).items():
        try:
            future.result(timeout_s)
        except KafkaException as error:
            # Another process may create the topic at the same moment; that is as good.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                failures[asked[name][0]] = error.args[0]
    return failures


def check_topics(settings: KafkaSettings, *, timeout_s: float = 10.0) -> None:
    """Check that every topic exists, with a number of partitions and a retention that work.

    Raises:
        KafkaUnavailable: no broker answered in time.
        TopicsMissing: one is missing or differs; the text says which, and what to do.
    """
    with _answering(settings) as client:
        present = _partitions(client, timeout_s)
    problems = []
    for topic in TOPICS:
        name = settings.topic(topic.name)
        if name not in present:
            problems.append(f"{name} is missing")
        elif not topic.accepts_partitions(present[name], settings.topic_partitions):
            problems.append(
                f"{name} has {present[name]} partitions, not {settings.topic_partitions}"
            )
    if problems:
        raise TopicsMissing(
            "; ".join(problems) + ". Run `imagemill topics create`, or set IMAGEMILL_TOPIC_PREFIX "
            "or IMAGEMILL_TOPIC_PARTITIONS to what the cluster has."
        )
    with _answering(settings) as client:
        differences = differing(client, settings, timeout_s)
    if differences:
        raise TopicsDiffer(
            "\n".join(["topics are configured so that messages would be lost:", *differences])
        )
