"""Configurations of the librdkafka clients: security, producer, consumer."""

from __future__ import annotations

from typing import Any

from imagemill.kafka.security import librdkafka_security
from imagemill.settings import KafkaSettings
from imagemill.settings.kafka import parse_client_config
from schemas.topics import MAX_MESSAGE_BYTES


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options that every librdkafka client has: address, security, KAFKA_CLIENT_CONFIG.

    Raises:
        SettingsInvalid: the settings of the SASL mechanism do not work.
    """
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": settings.kafka_client_id,
        **librdkafka_security(settings),
        **parse_client_config(settings.kafka_client_config),
    }


def producer_config(settings: KafkaSettings, *, delivery_timeout_s: float = 30.0) -> dict[str, Any]:
    """Configure an idempotent producer with acks=all that partitions as Java's and Faust's do."""
    return client_config(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "delivery.timeout.ms": int(delivery_timeout_s * 1000),
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1000,
    }


def consumer_config(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """Configure a consumer of a group that commits by hand and starts at the first offset."""
    rack = {"client.rack": settings.kafka_client_rack} if settings.kafka_client_rack else {}
    return (
        client_config(settings)
        | rack
        | {
            "group.id": settings.group(group),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "session.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 30_000,
        }
    )
