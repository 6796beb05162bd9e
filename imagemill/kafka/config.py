"""Configurations of the librdkafka clients: security, producer, consumer."""

from __future__ import annotations

from typing import Any

from imagemill.settings import KafkaSettings
from schemas.topics import MAX_MESSAGE_BYTES


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """Return the settings of every librdkafka client: brokers and security."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username or "",
            "sasl.password": password.get_secret_value() if password else "",
        }
    key_password = settings.kafka_ssl_key_password
    optional = {
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "ssl.key.password": key_password.get_secret_value() if key_password else None,
    }
    return config | {name: str(value) for name, value in optional.items() if value is not None}


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
    return client_config(settings) | {
        "group.id": settings.group(group),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "session.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
