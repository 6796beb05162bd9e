"""Audit records reach the broker without holding up requests, and what is lost is counted."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from prometheus_client import CollectorRegistry

from imagemill.kafka.errors import KafkaUnavailable
from producer_api.audit.audit_log import AuditLog
from schemas.audit import AuditKind, AuditOutcome, AuditRecord
from schemas.times import now
from tests.support.waiting import wait_until_async


class Topic:
    """A topic that can be away; `records` are those written to it."""

    def __init__(self) -> None:
        self.away = False
        self.records: list[tuple[str, dict]] = []
        self.attempts = 0

    async def send(self, topic, key, value, headers=None) -> None:
        self.attempts += 1
        await asyncio.sleep(0)
        if self.away:
            raise KafkaUnavailable("no broker answers")
        assert topic == "audit"
        self.records.append((key.decode(), json.loads(value)))

    @property
    def actions(self) -> list[str]:
        return [record["action"] for _, record in self.records]


def record(action: str, outcome: AuditOutcome = AuditOutcome.SUCCEEDED) -> AuditRecord:
    return AuditRecord(
        audit_id=action, at=now(), kind=AuditKind.REQUEST, action=action, outcome=outcome,
        actor="robot", owner="acme",
    )  # fmt: skip


def count(log: AuditLog, name: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(log)
    return registry.get_sample_value(f"imagemill_audit_{name}")


async def test_records_are_written_in_their_order_under_their_owner() -> None:
    topic = Topic()
    log = AuditLog(topic, "audit")
    log.start()
    for number in range(500):
        log.write(record(str(number)))
    await log.close()
    assert topic.actions == [str(number) for number in range(500)]
    assert {key for key, _ in topic.records} == {"acme"}
    assert (count(log, "written_total"), count(log, "dropped_total")) == (500, 0)


async def test_records_wait_while_the_broker_is_away() -> None:
    topic = Topic()
    topic.away = True
    log = AuditLog(topic, "audit")
    log.start()
    for action in "abc":
        log.write(record(action))
    await wait_until_async(lambda: topic.attempts >= 3)
    assert count(log, "waiting") == 3
    topic.away = False
    await wait_until_async(lambda: len(topic.records) == 3)
    await log.close()
    assert topic.actions == ["a", "b", "c"]
    assert count(log, "dropped_total") == 0


async def test_further_records_are_dropped_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AuditLog(Topic(), "audit", max_waiting=2, max_waiting_refused=1)
    for action in "abcde":
        log.write(record(action))
    assert (count(log, "waiting"), count(log, "dropped_total")) == (2, 3)
    lines = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert len(lines) == 1
    assert "audit records are dropped" in lines[0].getMessage()


async def test_a_flood_of_refused_requests_leaves_place_for_the_others() -> None:
    topic = Topic()
    log = AuditLog(topic, "audit", max_waiting=4, max_waiting_refused=2)
    for number in range(10):
        log.write(record(f"refused {number}", AuditOutcome.REFUSED))
    log.write(record("a change"))
    log.start()
    await log.close()
    assert topic.actions == ["refused 0", "refused 1", "a change"]
    log.write(record("refused again", AuditOutcome.REFUSED))
    assert count(log, "waiting") == 1


async def test_the_end_of_the_process_waits_a_limited_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = Topic()
    topic.away = True
    log = AuditLog(topic, "audit")
    log.start()
    log.write(record("a"))
    await asyncio.wait_for(log.close(timeout_s=0.05), 5)
    assert "1 audit records were lost" in caplog.text
    assert count(log, "dropped_total") == 1
