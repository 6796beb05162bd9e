"""Webhook endpoints and deliveries over HTTP: made, read, changed, tested, replayed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from schemas import cloudevents, topics
from schemas.cloudevents import decode_webhook_command
from schemas.times import from_epoch, now, to_epoch
from schemas.webhooks import EndpointStatus, WebhookEndpoint, WebhookReplay, WebhookTest
from tests.support.api import RunningApi, Topics
from tests.support.messages import attempted, given_up, given_up_message
from tests.support.waiting import wait_until

ALL = "/v1/webhooks/endpoints"
URL = "https://example.com/hook"


def create(api: RunningApi, **fields: Any) -> dict[str, Any]:
    """Create an endpoint; return the answer's document."""
    answer = api.post(ALL, json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def patch(api: RunningApi, endpoint_id: str, **fields: Any) -> Any:
    return api.session.patch(f"{api.url}{ALL}/{endpoint_id}", json=fields, timeout=20)


def records(kafka: Topics, endpoint_id: str) -> list[WebhookEndpoint | None]:
    """Read what was written of an endpoint, oldest first."""
    return [
        message.value() and cloudevents.decode_endpoint(message.value())
        for message in kafka.messages(topics.WEBHOOKS_ENDPOINTS.name)
        if message.key() == endpoint_id.encode()
    ]


def commands(kafka: Topics, **fields: Any) -> list[WebhookReplay | WebhookTest]:
    """Read the commands with these values."""
    found = [
        decode_webhook_command(message.headers(), message.value())
        for message in kafka.messages(topics.WEBHOOKS_COMMANDS.name)
    ]
    return [
        each
        for each in found
        if all(getattr(each, name, None) == value for name, value in fields.items())
    ]


def record_attempt(kafka: Topics, delivery_id: str, **fields: Any) -> None:
    """Write an attempt as the notifier does."""
    attempt = attempted(delivery_id, fields.pop("at", now()), **fields)
    value, headers = cloudevents.encode(attempt)
    kafka.publish(topics.WEBHOOKS_ATTEMPTS.name, delivery_id, value, headers)


def record_given_up(kafka: Topics, delivery_id: str, **fields: Any) -> None:
    """Write a delivery that was given up as the notifier does."""
    at = fields.pop("at", now())
    message = given_up_message(given_up(delivery_id, **fields), at)
    kafka.publish(topics.WEBHOOKS_DEAD_LETTER.name, delivery_id, message.value(), message.headers())


def a_delivery() -> str:
    return f"msg_{uuid.uuid4().hex}"


def seen(api: RunningApi, delivery_id: str, status: str) -> dict[str, Any]:
    """Wait until the API shows a delivery in that status; return it."""
    return wait_until(
        lambda: api.get(f"/v1/webhooks/deliveries/{delivery_id}").json(),
        lambda document: document.get("status") == status,
    )


def test_an_endpoint_is_created_read_changed_and_deleted(api: RunningApi, kafka: Topics) -> None:
    made = create(api, events=["job.finished", "job.failed"], description="Shop")
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and made.pop("public_key") is None
    assert (made["url"], made["events"]) == (URL, ["job.finished", "job.failed"])
    assert (made["disabled"], made["disabled_reason"], made["body"]) == (False, None, "full")
    path = f"{ALL}/{made['id']}"
    assert api.get(path).json() == made
    assert made in api.get(ALL).json()["endpoints"]

    changed = patch(api, made["id"], url=f"{URL}/2", body="thin", events=["job.started"]).json()
    assert changed["updated_at"] >= made["updated_at"]
    expected = made | {"url": f"{URL}/2", "body": "thin", "events": ["job.started"]}
    assert changed == expected | {"updated_at": changed["updated_at"]}
    assert api.get(f"{path}/secret").json()["secret"] == secret

    assert api.session.delete(api.url + path, timeout=20).status_code == 204
    assert api.get(path).status_code == 404
    assert made["id"] not in [each["id"] for each in api.get(ALL).json()["endpoints"]]
    assert records(kafka, made["id"])[-1] is None


def test_secrets_and_header_values_are_not_readable_on_the_topic(
    api: RunningApi, kafka: Topics
) -> None:
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = create(api, secret=given, headers={"Authorization": "Bearer t0ken", "X-Shop": "eins"})
    assert made["secret"] == given
    assert made["headers"] == ["Authorization", "X-Shop"]

    changed = patch(api, made["id"], headers={"authorization": "Basic n3xt", "x-shop": None})
    assert changed.json()["headers"] == ["authorization"]
    (first, last) = records(kafka, made["id"])
    assert first is not None and set(first.headers) == {"Authorization", "X-Shop"}
    assert last is not None and set(last.headers) == {"authorization"}
    values = [message.value() or b"" for message in kafka.messages(topics.WEBHOOKS_ENDPOINTS.name)]
    for text in (given.removeprefix("whsec_"), "t0ken", "n3xt", "eins"):
        assert not any(text.encode() in value for value in values)
    assert "t0ken" not in api.get(f"{ALL}/{made['id']}").text


def test_a_rotated_secret_leaves_the_one_before_valid_for_a_while(
    api: RunningApi, kafka: Topics
) -> None:
    made = create(api)
    path = f"{ALL}/{made['id']}/secret"
    first = api.post(f"{path}/rotate", json={"overlap_s": 3600}).json()
    assert first["secret"] != made["secret"]
    (until,) = first["previous_expire_at"]
    assert 3590 < to_epoch(until) - to_epoch(first["created_at"]) < 3610

    second = api.post(f"{path}/rotate").json()
    assert api.get(path).json() == second
    assert second["previous_expire_at"][-1] == until and len(second["previous_expire_at"]) == 2
    last = records(kafka, made["id"])[-1]
    assert last is not None and len(last.secrets) == 3

    at_once = api.post(f"{path}/rotate", json={"overlap_s": 0}).json()
    assert at_once["previous_expire_at"] == sorted(second["previous_expire_at"])[::-1]


def test_a_secret_of_ed25519_comes_with_its_public_key(api: RunningApi) -> None:
    made = create(api, signature="v1a")
    assert made["secret"].startswith("whsk_") and made["public_key"].startswith("whpk_")
    shown = api.get(f"{ALL}/{made['id']}/secret").json()
    assert (shown["secret"], shown["public_key"]) == (made["secret"], made["public_key"])
    rotated = api.post(f"{ALL}/{made['id']}/secret/rotate", json={}).json()
    assert rotated["secret"].startswith("whsec_") and rotated["public_key"] is None


def test_a_secret_that_another_key_encrypted_cannot_be_shown(
    api: RunningApi, kafka: Topics
) -> None:
    made = create(api)
    endpoint = records(kafka, made["id"])[-1]
    assert endpoint is not None
    version, _, sealed = endpoint.secrets[0].sealed.split(".")
    foreign = endpoint.secrets[0].evolve(sealed=f"{version}.00000000.{sealed}")
    kafka.publish(
        topics.WEBHOOKS_ENDPOINTS.name,
        made["id"],
        endpoint.evolve(secrets=(foreign,)).model_dump_json().encode(),
        None,
    )
    path = f"{ALL}/{made['id']}/secret"
    assert api.get(path).json()["code"] == "secret_unreadable"
    rotated = api.post(f"{path}/rotate").json()
    assert api.get(path).json()["secret"] == rotated["secret"]


def test_what_the_notifier_disabled_is_enabled_again(api: RunningApi, kafka: Topics) -> None:
    made = create(api)
    status = EndpointStatus(
        endpoint_id=made["id"],
        failing_since=from_epoch(to_epoch(now()) + 1),
        disabled_at=from_epoch(to_epoch(now()) + 2),
        reason="It has only failed for five days.",
    )
    kafka.publish(
        topics.WEBHOOKS_ENDPOINT_STATUS.name, made["id"], status.model_dump_json().encode(), None
    )
    disabled = api.get(f"{ALL}/{made['id']}").json()
    assert (disabled["disabled"], disabled["disabled_reason"]) == (True, status.reason)
    assert disabled["failing_since"] == status.failing_since

    enabled = patch(api, made["id"], disabled=False).json()
    assert (enabled["disabled"], enabled["failing_since"]) == (False, None)
    assert patch(api, made["id"], disabled=True).json()["disabled_reason"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "http://10.0.0.1/hook"}, "url"),
        ({"url": "http://[::1]/"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["job.eaten"]}, "events.0"),
        ({"secret": "hunter2"}, "secret"),
        ({"secret": "whsec_AAAA"}, "secret"),
        ({"secret": "whsk_AAAA"}, "secret"),
        ({"signature": "v2"}, "signature"),
        ({"headers": {"webhook-id": "x"}}, "headers"),
        ({"headers": {"Content-Type": "x"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"headers": {"X-A": "ä"}}, "headers"),
        ({"headers": {"X A": "a"}}, "headers"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers"),
        ({"headers": {f"X-{number}": "a" for number in range(21)}}, "headers"),
        ({"headers": {"X-A": 5}}, "headers.X-A"),
        ({"body": "half"}, "body"),
        ({"description": "x" * 1001}, "description"),
        ({"disabled": "yes"}, "disabled"),
    ],
    ids=str,
)
def test_an_endpoint_that_cannot_be_is_refused_with_its_field(
    api: RunningApi, body: dict[str, Any], field: str
) -> None:
    answer = api.post(ALL, json=({"url": URL} if body else {}) | body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["detail"].startswith(field)

    if body:
        made = create(api)
        if set(body) <= {"url", "events", "headers", "body", "description", "disabled"}:
            assert patch(api, made["id"], **body).status_code == 422
            assert api.get(f"{ALL}/{made['id']}").json()["updated_at"] == made["updated_at"]


def test_unknown_fields_and_bodies_that_are_no_json_are_refused(api: RunningApi) -> None:
    made = create(api)
    path = f"{ALL}/{made['id']}"
    assert api.post(ALL, json={"url": URL, "colour": "red"}).json()["code"] == "fields_unknown"
    assert api.post(ALL, data="{").status_code == 400
    assert patch(api, made["id"], secret="whsec_x").json()["code"] == "fields_unknown"
    for tail, body in (
        ("secret/rotate", {"overlap_s": -1}),
        ("secret/rotate", {"secret": "x"}),
        ("test", {"event": "job.eaten"}),
        ("replay", {}),
        ("replay", {"since": "yesterday"}),
        ("replay", {"since": "2026-02-31T00:00:00Z"}),
    ):
        assert api.post(f"{path}/{tail}", json=body).status_code == 422, (tail, body)


def test_there_is_a_limit_to_the_number_of_endpoints(
    serve: Callable[..., tuple[RunningApi, Topics]],
) -> None:
    api, _ = serve(max_webhook_endpoints=2)
    first, _ = create(api), create(api)
    answer = api.post(ALL, json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "endpoints_exceeded")
    assert api.session.delete(f"{api.url}{ALL}/{first['id']}", timeout=20).status_code == 204
    create(api)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{ALL}/ep_00000000"),
        ("PATCH", f"{ALL}/ep_00000000"),
        ("DELETE", f"{ALL}/ep_00000000"),
        ("GET", f"{ALL}/ep_00000000/secret"),
        ("POST", f"{ALL}/ep_00000000/secret/rotate"),
        ("POST", f"{ALL}/ep_00000000/test"),
        ("POST", f"{ALL}/ep_00000000/replay"),
        ("GET", f"{ALL}/no%20id"),
        ("GET", "/v1/webhooks/deliveries/msg_0"),
        ("GET", "/v1/webhooks/deliveries/msg_0/attempts"),
        ("POST", "/v1/webhooks/deliveries/msg_0/replay"),
    ],
)
def test_what_is_not_there_is_answered_404(api: RunningApi, method: str, path: str) -> None:
    body = {"since": "2026-01-01T00:00:00Z"} if path.endswith("00/replay") else {}
    answer = api.session.request(method, api.url + path, json=body, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_message_that_is_no_endpoint_is_left_out(api: RunningApi, kafka: Topics) -> None:
    made = create(api)
    for name, document in (("ep_00000001", b"[]"), ("ep_00000002", b"{"), ("ep_00000003", b"{}")):
        kafka.publish(topics.WEBHOOKS_ENDPOINTS.name, name, document, None)
        assert api.get(f"{ALL}/{name}").status_code == 404
    assert made["id"] in [each["id"] for each in api.get(ALL).json()["endpoints"]]


def test_another_api_has_the_endpoint_at_once(
    api: RunningApi, beside: Callable[[], RunningApi]
) -> None:
    other = beside()
    made = create(api)
    assert other.get(f"{ALL}/{made['id']}").json()["url"] == URL
    assert patch(other, made["id"], description="theirs").status_code == 200
    assert api.get(f"{ALL}/{made['id']}").json()["description"] == "theirs"


def test_deliveries_are_listed_with_their_attempts(api: RunningApi, kafka: Topics) -> None:
    job, waits, ended = f"job-{uuid.uuid4().hex}", a_delivery(), a_delivery()
    record_attempt(kafka, waits, job_id=job, next_at="2099-01-01T00:00:00.000Z")
    record_attempt(kafka, ended, job_id=job)
    seen(api, ended, "delivered")
    listed = api.get(f"/v1/webhooks/deliveries?job_id={job}").json()
    assert [each["id"] for each in listed["deliveries"]] == [ended, waits]
    assert listed["next_cursor"] is None
    only = api.get(f"/v1/webhooks/deliveries?job_id={job}&status=pending").json()["deliveries"]
    assert [(each["id"], each["next_at"]) for each in only] == [(waits, "2099-01-01T00:00:00.000Z")]

    page = api.get(f"/v1/webhooks/deliveries?job_id={job}&limit=1").json()
    assert [each["id"] for each in page["deliveries"]] == [ended]
    query = f"job_id={job}&limit=1&cursor={page['next_cursor']}"
    rest = api.get(f"/v1/webhooks/deliveries?{query}").json()
    assert ([each["id"] for each in rest["deliveries"]], rest["next_cursor"]) == ([waits], None)

    (attempt,) = api.get(f"/v1/webhooks/deliveries/{waits}/attempts").json()["attempts"]
    assert (attempt["status"], attempt["failure"], attempt["response"]) == (503, "status", "busy")
    assert attempt["trigger"] == "event"


@pytest.mark.parametrize(
    "query", ["status=lost", "limit=0", "limit=101", "cursor=x", "limit=1&limit=2"]
)
def test_wrong_filters_are_refused(api: RunningApi, query: str) -> None:
    answer = api.get(f"/v1/webhooks/deliveries?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


def test_a_replay_names_the_record_with_the_body(api: RunningApi, kafka: Topics) -> None:
    delivery, endpoint = a_delivery(), create(api)["id"]
    record_given_up(kafka, delivery, endpoint_id=endpoint)
    assert seen(api, delivery, "failed")["replayable"] is True
    answer = api.post(f"/v1/webhooks/deliveries/{delivery}/replay")
    assert answer.status_code == 202
    assert answer.json() == {"delivery_id": delivery, "attempt": None}
    assert answer.headers["Location"] == f"/v1/webhooks/deliveries/{delivery}"

    (command,) = commands(kafka, delivery_id=delivery)
    assert isinstance(command, WebhookReplay)
    (source,) = (
        message
        for message in kafka.messages(topics.WEBHOOKS_DEAD_LETTER.name)
        if message.key() == delivery.encode()
    )
    assert command.topic == topics.WEBHOOKS_DEAD_LETTER.name
    assert (command.partition, command.offset) == (source.partition(), source.offset())


def test_what_is_still_tried_or_was_not_kept_is_not_replayed(
    api: RunningApi, kafka: Topics
) -> None:
    waits, large = a_delivery(), a_delivery()
    record_attempt(kafka, waits, next_at="2099-01-01T00:00:00.000Z")
    record_given_up(kafka, large, body="")
    assert seen(api, waits, "pending")["replayable"] is False
    assert seen(api, large, "failed")["replayable"] is False
    for delivery, code in ((waits, "delivery_pending"), (large, "body_not_kept")):
        answer = api.post(f"/v1/webhooks/deliveries/{delivery}/replay")
        assert (answer.status_code, answer.json()["code"]) == (409, code)


def test_a_delivery_to_a_deleted_endpoint_is_not_replayed(api: RunningApi, kafka: Topics) -> None:
    delivery, endpoint = a_delivery(), create(api)["id"]
    record_given_up(kafka, delivery, endpoint_id=endpoint)
    seen(api, delivery, "failed")
    api.session.delete(f"{api.url}{ALL}/{endpoint}", timeout=20)
    answer = api.post(f"/v1/webhooks/deliveries/{delivery}/replay")
    assert (answer.status_code, answer.json()["code"]) == (409, "endpoint_deleted")
    assert seen(api, delivery, "failed")["endpoint_id"] == endpoint


def test_all_that_failed_since_a_time_is_replayed(api: RunningApi, kafka: Topics) -> None:
    endpoint = create(api)["id"]
    before, since = a_delivery(), from_epoch(to_epoch(now()) - 60)
    earlier = from_epoch(to_epoch(since) - 60)
    record_given_up(kafka, before, endpoint_id=endpoint, at=earlier)
    failed = [a_delivery() for _ in range(3)]
    for delivery in failed:
        record_given_up(kafka, delivery, endpoint_id=endpoint)
    large, fine = a_delivery(), a_delivery()
    record_given_up(kafka, large, endpoint_id=endpoint, body="")
    record_attempt(kafka, fine, endpoint_id=endpoint)
    answer = api.post(f"{ALL}/{endpoint}/replay", json={"since": since})
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"replayed": 3, "not_kept": 1, "next_since": None}

    sent = [each for each in commands(kafka) if getattr(each, "delivery_id", "") in failed]
    assert {each.delivery_id for each in sent} == set(failed)
    assert len({each.command_id for each in sent}) == 1


def test_a_test_event_is_waited_for(api: RunningApi, kafka: Topics) -> None:
    endpoint = create(api, disabled=True)["id"]
    answer = api.post(f"{ALL}/{endpoint}/test", json={"event": "job.failed"})
    assert (answer.status_code, answer.json()["attempt"]) == (202, None)
    (command,) = commands(kafka, endpoint_id=endpoint)
    assert isinstance(command, WebhookTest)
    assert command.event == "job.failed"
    assert answer.json()["delivery_id"] == command.delivery_id

    record_attempt(kafka, command.delivery_id, endpoint_id=endpoint, job_id=None, trigger="test")
    found = seen(api, command.delivery_id, "delivered")
    assert (found["endpoint_id"], found["job_id"]) == (endpoint, None)
