"""Audit records of commands that change something, such as those on keys."""

from __future__ import annotations

import getpass
import socket
import uuid

from confluent_kafka import KafkaError, KafkaException, Producer

from imagemill.kafka.config import producer_config
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.settings import KafkaSettings
from schemas.audit import AuditKind, AuditOutcome, AuditRecord
from schemas.times import now
from schemas.topics import AUDIT

_TIMEOUT_S = 10.0


def record_command(
    settings: KafkaSettings, action: str, target: str | None = None, *, succeeded: bool = True
) -> None:
    """Write the record of a command that was run, and wait until the broker has it.

    Args:
        settings: settings of the cluster.
        action: the command, such as `keys create`.
        target: what it made or changed, such as a key id.
        succeeded: whether it did what it was asked.

    Raises:
        KafkaUnavailable: the broker did not take it within 10 s.
    """
    record = AuditRecord(
        audit_id=uuid.uuid4().hex,
        at=now(),
        kind=AuditKind.COMMAND,
        action=action,
        outcome=AuditOutcome.SUCCEEDED if succeeded else AuditOutcome.FAILED,
        actor=_user(),
        address=socket.gethostname(),
        target=target,
    )
    errors: list[KafkaError] = []
    try:
        producer = Producer(producer_config(settings, delivery_timeout_s=_TIMEOUT_S))
        producer.produce(
            settings.topic(AUDIT.name),
            record.model_dump_json(exclude_none=True).encode(),
            record.actor.encode(),
            headers=[("content-type", b"application/json")],
            on_delivery=lambda error, _message: errors.append(error) if error else None,
        )
        unsent = producer.flush(_TIMEOUT_S)
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from error
    if errors or unsent:
        reason = errors[0].str() if errors else "it did not answer in time"
        raise KafkaUnavailable(f"the audit record was not written: {reason}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "unknown"
