"""Audit records on the real broker, and a broker that is away."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from schemas.audit import AuditRecord
from schemas.topics import AUDIT
from tests.support.api import RunningApi, Topics, fresh_settings
from tests.support.waiting import wait_until


def _records(kafka: Topics) -> list[AuditRecord]:
    return [AuditRecord.model_validate_json(m.value()) for m in kafka.messages(AUDIT.name)]


def test_a_job_leaves_a_record_on_the_topic(serve):
    api, kafka = serve(audit=True, trusted_proxies="127.0.0.1")
    body = {"operation": "noop", "metadata": {"patient": "private"}}
    headers = {"X-Forwarded-For": "203.0.113.9", "User-Agent": "a test"}
    job_id = api.post("/v1/jobs", json=body, headers=headers).json()["id"]
    (record,) = wait_until(lambda: _records(kafka))
    assert (record.action, record.target) == ("post_v1_jobs", f"/v1/jobs/{job_id}")
    assert (record.address, record.user_agent) == ("203.0.113.9", "a test")
    (message,) = kafka.messages(AUDIT.name)
    assert b"private" not in message.value()
    assert message.key() == b"anonymous"
    metrics = api.get("/metrics").text
    assert "imagemill_audit_written_total 1.0" in metrics
    assert "imagemill_audit_dropped_total 0.0" in metrics


def test_records_are_written_before_the_process_ends(serve):
    api, kafka = serve(audit=True)
    for _ in range(20):
        api.post("/v1/nothing")
    api.stop()
    assert len(_records(kafka)) == 20


def test_requests_do_not_wait_for_a_broker_that_is_away(own_broker, tmp_path):
    settings = fresh_settings(
        own_broker.bootstrap, tmp_path / "api", audit=True, delivery_timeout_s=1.0
    )
    kafka = Topics(settings)
    api = RunningApi(settings).start()
    try:
        # Until the API keys are read, every request waits for them.
        wait_until(lambda: api.get("/metrics").ok)
        own_broker.kill()
        answer: Any = requests.delete(f"{api.url}/v1/nothing", timeout=5)
        assert answer.status_code == 404
        assert answer.elapsed.total_seconds() < 1
        wait_until(lambda: "imagemill_audit_waiting 1.0" in api.get("/metrics").text)
        own_broker.start()
        wait_until(
            lambda: "imagemill_audit_written_total 1.0" in api.get("/metrics").text, timeout_s=60
        )
        (record,) = _records(kafka)
        assert (record.method, record.status) == ("DELETE", 404)
    finally:
        api.stop()
        kafka.close()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/stats"])
def test_reads_leave_none(serve, path):
    api, kafka = serve(audit=True)
    api.get(path)
    api.stop()
    assert _records(kafka) == []
