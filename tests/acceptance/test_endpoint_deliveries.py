"""Webhook endpoints on the whole system: events posted, tested, seen and replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.acceptance.support.hook import Hook, hook
from tests.acceptance.support.system import ROOT, System
from tests.support.waiting import wait_until

ALL = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Hook]:
    with hook() as running:
        yield running


@pytest.fixture
def path() -> str:
    return f"/{uuid.uuid4().hex}"


@pytest.fixture
def endpoint(nimble: System, receiver: Hook, path: str) -> Iterator[dict[str, Any]]:
    """An endpoint of this test; it is deleted afterwards, or it would get others' events."""
    body = {"url": receiver.url(path), "headers": {"X-Shop": "eins"}}
    made = nimble.post(ALL, json=body).json()
    yield made
    nimble.delete(f"{ALL}/{made['id']}")


def patch(system: System, endpoint_id: str, **fields: Any) -> None:
    answer = requests.patch(f"{system.url}{ALL}/{endpoint_id}", json=fields, timeout=60)
    assert answer.ok, answer.text


def delivery(system: System, delivery_id: str, status: str) -> dict[str, Any]:
    """Wait until a delivery is in that status; return it."""
    return wait_until(
        lambda: system.get(f"{DELIVERIES}/{delivery_id}").json(),
        lambda found: found.get("status") == status,
        timeout_s=60,
    )


def command(system: System, *words: str) -> tuple[int, str]:
    """Run `imagemill webhooks`; return its exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "imagemill", "webhooks", *words],
        cwd=system.home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "IMAGEMILL_URL": system.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout or done.stderr


def test_a_job_s_end_is_posted_with_the_endpoint_s_own_secret_and_headers(
    nimble: System, receiver: Hook, endpoint: dict[str, Any], path: str
) -> None:
    job = nimble.submitted(operation="noop")
    (post,) = receiver.wait(path)
    event = post.verified(endpoint["secret"])
    assert (event["type"], event["data"]["job_id"]) == ("job.finished", job)
    assert post.headers["x-shop"] == "eins"

    found = delivery(nimble, post.id, "delivered")
    assert (found["endpoint_id"], found["job_id"]) == (endpoint["id"], job)
    assert found["event"] == "job.finished"
    listed = nimble.get(f"{DELIVERIES}?endpoint_id={endpoint['id']}").json()["deliveries"]
    assert [each["id"] for each in listed] == [post.id]


def test_both_secrets_sign_while_one_is_rotated_also_the_second_time(
    nimble: System, receiver: Hook, endpoint: dict[str, Any], path: str
) -> None:
    secrets = [endpoint["secret"]]
    for count in (1, 2):
        rotated = nimble.post(f"{ALL}/{endpoint['id']}/secret/rotate").json()
        secrets.append(rotated["secret"])
        assert nimble.post(f"{ALL}/{endpoint['id']}/test").status_code == 202
        post = receiver.wait(path, count)[-1]
        for secret in secrets:
            assert post.verified(secret)["test"] is True


def test_a_test_event_is_posted_though_the_endpoint_is_disabled(
    nimble: System, receiver: Hook, endpoint: dict[str, Any], path: str
) -> None:
    patch(nimble, endpoint["id"], disabled=True)
    nimble.submitted(operation="noop")
    answer = nimble.post(
        f"{ALL}/{endpoint['id']}/test", json={"event": "job.failed"}, headers={"Prefer": "wait=30"}
    )
    assert answer.status_code == 200, answer.text
    attempt = answer.json()["attempt"]
    assert (attempt["status"], attempt["trigger"]) == (204, "test")
    (post,) = receiver.wait(path)
    assert post.id == answer.json()["delivery_id"]
    assert post.verified(endpoint["secret"])["type"] == "job.failed"


def test_a_failed_delivery_is_replayed_with_the_address_and_secret_of_today(
    nimble: System, receiver: Hook, endpoint: dict[str, Any], path: str
) -> None:
    receiver.status[path] = 503
    nimble.submitted(operation="noop")
    failed = receiver.wait(path, 3)[-1]
    found = delivery(nimble, failed.id, "failed")
    assert found["replayable"] is True and found["reason"]
    attempts = nimble.get(f"{DELIVERIES}/{failed.id}/attempts").json()["attempts"]
    assert [each["status"] for each in attempts] == [503, 503, 503]

    elsewhere = f"{path}/new"
    patch(nimble, endpoint["id"], url=receiver.url(elsewhere), disabled=True)
    rotated = nimble.post(f"{ALL}/{endpoint['id']}/secret/rotate", json={"overlap_s": 0}).json()
    answer = nimble.post(f"{DELIVERIES}/{failed.id}/replay", headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["attempt"]["trigger"] == "replay"
    (post,) = receiver.wait(elsewhere)
    assert (post.id, post.body) == (failed.id, failed.body)
    post.verified(rotated["secret"])
    assert delivery(nimble, failed.id, "delivered")["url"] == receiver.url(elsewhere)

    again = nimble.post(f"{DELIVERIES}/{failed.id}/replay", headers={"Prefer": "wait=30"})
    assert again.json()["attempt"]["status"] == 204
    assert [each.id for each in receiver.wait(elsewhere, 2)] == [failed.id] * 2


def test_all_failed_deliveries_since_a_time_are_replayed_from_the_command_line(
    nimble: System, receiver: Hook, endpoint: dict[str, Any], path: str
) -> None:
    receiver.status[path] = 500
    since = endpoint["created_at"]
    # One alone: after five failures in a row the notifier probes the receiver once a minute.
    job = nimble.submitted(operation="noop")
    wait_until(
        lambda: json.loads(
            command(
                nimble, "deliveries", "list", "--endpoint", endpoint["id"], "--status", "failed",
                "--json",
            )[1]
        )["deliveries"],
        lambda found: [each["job_id"] for each in found] == [job],
        timeout_s=60,
    )  # fmt: skip
    receiver.status[path] = 200
    before = len(receiver.posts[path])
    status, printed = command(nimble, "replay", endpoint["id"], "--since", since)
    assert (status, printed) == (0, "1 posted once more\n")
    post = receiver.wait(path, before + 1)[before]
    assert post.event["data"]["job_id"] == job
    delivery(nimble, post.id, "delivered")

    status, printed = command(nimble, "endpoints", "test", endpoint["id"])
    assert status == 0 and "The receiver accepted it with status 200." in printed


def test_a_thin_endpoint_gets_ids_and_a_public_key_verifies(
    nimble: System, receiver: Hook, path: str
) -> None:
    body = {"url": receiver.url(path), "body": "thin", "signature": "v1a"}
    made = nimble.post(ALL, json=body).json()
    job = nimble.submitted(operation="noop")
    (post,) = receiver.wait(path)
    nimble.delete(f"{ALL}/{made['id']}")
    assert post.event["data"] == {"job_id": job, "links": {"job": f"/v1/jobs/{job}"}}
    assert post.headers["webhook-signature"].startswith("v1a,")
