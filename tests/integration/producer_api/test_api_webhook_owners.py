"""Webhook endpoints and deliveries belong to their owner: for others they are not there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from schemas import cloudevents, topics
from schemas.access import Scope
from schemas.times import now
from tests.support.api import RunningApi, Topics
from tests.support.keys import made_key
from tests.support.messages import given_up, given_up_message
from tests.support.waiting import DEADLINE_S, wait_until

ALL = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"
BODY = {"url": "https://example.com/hook"}
Ask = Callable[..., requests.Response]


class House:
    """An API with keys; `key` makes one and returns the function that sends requests with it."""

    def __init__(self, api: RunningApi, kafka: Topics) -> None:
        self._api = api
        self._kafka = kafka

    def key(self, owner: str, *scopes: Scope, **fields: Any) -> Ask:
        made, secret = made_key(owner=owner, scopes=scopes or (Scope.WEBHOOKS,), **fields)
        document = made.model_dump_json().encode()
        self._kafka.publish(topics.ACCESS_KEYS.name, made.key_id, document, None)

        def ask(method: str, path: str, **options: Any) -> requests.Response:
            headers = {"Authorization": f"Bearer {secret}"}
            url = self._api.url + path
            return requests.request(method, url, headers=headers, timeout=DEADLINE_S, **options)

        # Until the API has read its first key, it answers everybody.
        wait_until(self.without_key, lambda status: status == 401)
        wait_until(lambda: ask("GET", ALL).status_code, lambda status: status != 401)
        return ask

    def without_key(self) -> int:
        """Send a request without a key; return the status."""
        return requests.get(self._api.url + ALL, timeout=DEADLINE_S).status_code

    def given_up(self, **fields: Any) -> str:
        """Write a delivery that was given up; return its id."""
        delivery = given_up(f"msg_{uuid.uuid4().hex}", **fields)
        message = given_up_message(delivery, now())
        topic = topics.WEBHOOKS_DEAD_LETTER.name
        self._kafka.publish(topic, delivery.delivery_id, message.value(), message.headers())
        return delivery.delivery_id

    def commands(self) -> list[Any]:
        return [
            cloudevents.decode_webhook_command(message.headers(), message.value())
            for message in self._kafka.messages(topics.WEBHOOKS_COMMANDS.name)
        ]


@pytest.fixture
def house(serve: Callable[..., tuple[RunningApi, Topics]]) -> House:
    return House(*serve())


def test_an_owner_s_endpoints_and_deliveries_are_not_there_for_others(house: House) -> None:
    ada, eve = house.key("ada"), house.key("eve")
    made = ada("POST", ALL, json=BODY).json()
    delivery = house.given_up(endpoint_id=made["id"], owner="ada")
    wait_until(lambda: ada("GET", f"{DELIVERIES}/{delivery}").ok)
    one, sent = f"{ALL}/{made['id']}", f"{DELIVERIES}/{delivery}"
    for method, path, body in (
        ("GET", one, None),
        ("PATCH", one, {"disabled": True}),
        ("DELETE", one, None),
        ("GET", f"{one}/secret", None),
        ("POST", f"{one}/secret/rotate", {}),
        ("POST", f"{one}/test", {}),
        ("POST", f"{one}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("GET", sent, None),
        ("GET", f"{sent}/attempts", None),
        ("POST", f"{sent}/replay", None),
    ):
        answer = eve(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
    assert eve("GET", ALL).json()["endpoints"] == []
    for query in ("", f"?endpoint_id={made['id']}", "?job_id=job-00001", "?status=failed"):
        assert eve("GET", DELIVERIES + query).json()["deliveries"] == []
    assert house.commands() == []
    assert ada("GET", one).json() == {
        name: value for name, value in made.items() if name not in ("secret", "public_key")
    }

    other_key = house.key("ada")
    assert [each["id"] for each in other_key("GET", ALL).json()["endpoints"]] == [made["id"]]
    admin = house.key("root", Scope.ADMIN)
    assert admin("GET", sent).json()["id"] == delivery
    assert [each["id"] for each in admin("GET", ALL).json()["endpoints"]] == [made["id"]]


def test_a_key_that_sees_all_owners_changes_no_other_ones_endpoints(house: House) -> None:
    ada, reports = house.key("ada"), house.key("reports", own_only=False)
    made = ada("POST", ALL, json=BODY).json()
    delivery = house.given_up(endpoint_id=made["id"], owner="ada")
    wait_until(lambda: ada("GET", f"{DELIVERIES}/{delivery}").ok)
    one = f"{ALL}/{made['id']}"
    assert reports("GET", one).json() == ada("GET", one).json()
    for method, path, body in (
        ("PATCH", one, {"url": "https://example.com/mine"}),
        ("DELETE", one, None),
        ("POST", f"{one}/secret/rotate", {}),
        ("POST", f"{one}/test", {}),
        ("POST", f"{one}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("POST", f"{DELIVERIES}/{delivery}/replay", None),
    ):
        answer = reports(method, path, json=body)
        assert (answer.status_code, answer.json().get("scopes")) == (403, ["admin"]), (method, path)
    assert house.commands() == []


def test_nobody_but_its_owner_reads_the_secret_of_an_endpoint(house: House) -> None:
    ada, admin = house.key("ada"), house.key("root", Scope.ADMIN)
    reports = house.key("reports", own_only=False)
    made = ada("POST", ALL, json=BODY).json()
    path = f"{ALL}/{made['id']}/secret"
    for other in (admin, reports):
        answer = other("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (403, "secret_not_own")
        assert made["secret"] not in answer.text
    assert ada("GET", path).json()["secret"] == made["secret"]
    # As after a leak.
    assert admin("POST", f"{path}/rotate", json={"overlap_s": 0}).status_code == 200
    assert ada("GET", path).json()["secret"] != made["secret"]


def test_the_limit_of_endpoints_counts_for_each_owner(
    serve: Callable[..., tuple[RunningApi, Topics]],
) -> None:
    house = House(*serve(max_webhook_endpoints=1))
    ada, eve = house.key("ada"), house.key("eve")
    assert [ada("POST", ALL, json=BODY).status_code for _ in range(2)] == [201, 409]
    assert eve("POST", ALL, json=BODY).status_code == 201


def test_a_key_needs_the_scope_and_the_permission_to_name_webhooks(house: House) -> None:
    without = house.key("ada", Scope.JOBS_READ)
    refused = without("GET", DELIVERIES)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    unnamed = house.key("ada", webhooks_allowed=False)
    assert unnamed("GET", ALL).status_code == 200
    refused = unnamed("POST", ALL, json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (403, "webhook_not_allowed")
    assert house.without_key() == 401
