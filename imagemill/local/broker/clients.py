"""Clients of a broker that is being started: their settings, and the wait until it serves them."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from imagemill.kafka.topics import admin, last_trouble, refusal
from imagemill.local.errors import LocalError
from imagemill.settings import KafkaSettings


def plain_clients(bootstrap: str) -> KafkaSettings:
    """Return the settings of clients of a local broker, which has no users and no TLS."""
    return KafkaSettings(kafka_bootstrap_servers=bootstrap, kafka_security_protocol="PLAINTEXT")


def wait_until_served(
    settings: KafkaSettings,
    timeout_s: float,
    *,
    check: Callable[[], None] = lambda: None,
    ours: Callable[[], bool] = lambda: True,
) -> None:
    """Wait until a broker answers a client's metadata request.

    Args:
        settings: where the broker is, and how clients reach it.
        timeout_s: seconds to wait.
        check: called before each request; ends the wait by raising LocalError.
        ours: returns whether an answer came from the broker that is waited for.

    Raises:
        LocalError: it did not answer in time, refuses our user or certificate, or `check` raised.
    """
    deadline = time.monotonic() + timeout_s
    heard: list[KafkaError] = []
    client = admin(settings, heard)
    where = settings.kafka_bootstrap_servers
    while True:
        try:
            if client.list_topics(timeout=1.0).brokers:
                if ours():
                    return
                reason = "another broker answered"
            else:
                reason = "it knows no broker yet"
        except KafkaException as error:
            client.poll(0)
            reason = last_trouble(heard) or error.args[0].str()
        if refused := refusal(heard):
            raise LocalError(f"the Kafka cluster at {where} refuses us: {refused}")
        check()
        if time.monotonic() > deadline:
            raise LocalError(
                f"no Kafka broker answered at {where} within {timeout_s:.0f} s ({reason})"
            )
