"""The endpoints as their topics have them: who gets which event."""

from __future__ import annotations

import pytest

from notifier.endpoints import Endpoints
from schemas.jobs import WebhookEvent
from schemas.webhooks import EndpointStatus, WebhookEndpoint
from tests.support.endpoints import ID, endpoint

FINISHED = WebhookEvent.FINISHED


def table(*endpoints: WebhookEndpoint) -> Endpoints:
    made = Endpoints("endpoints", "status")
    for each in endpoints:
        made.apply("endpoints", each.endpoint_id.encode(), each.model_dump_json().encode())
    return made


def names(endpoints: Endpoints, owner: str | None, event: WebhookEvent = FINISHED) -> list[str]:
    return [each.endpoint_id for each in endpoints.subscribed(owner, event)]


def test_an_owners_event_goes_to_that_owners_subscribed_endpoints_alone():
    endpoints = table(
        endpoint("ep_ada00001", owner="ada"),
        endpoint("ep_ada00002", ("job.started",), owner="ada"),
        endpoint("ep_bob00001", owner="bob"),
        endpoint("ep_none0001"),
    )
    assert names(endpoints, "ada") == ["ep_ada00001"]
    assert names(endpoints, "bob") == ["ep_bob00001"]
    assert names(endpoints, None) == ["ep_none0001"]
    assert names(endpoints, "eve") == []


def test_a_disabled_endpoint_gets_nothing_whoever_disabled_it():
    endpoints = table(endpoint(disabled=True), endpoint("ep_87654321"))
    assert names(endpoints, None) == ["ep_87654321"]
    status = EndpointStatus(endpoint_id="ep_87654321", disabled_at="2026-01-02T00:00:00.000Z")
    endpoints.apply("status", b"ep_87654321", status.model_dump_json().encode())
    assert names(endpoints, None) == []
    enabled = endpoint("ep_87654321").enable(status, "2026-01-03T00:00:00.000Z")
    endpoints.apply("endpoints", b"ep_87654321", enabled.model_dump_json().encode())
    assert names(endpoints, None) == ["ep_87654321"]


def test_a_change_replaces_and_a_tombstone_removes_it():
    endpoints = table(endpoint(owner="ada"), endpoint(owner="ada", events=("job.failed",)))
    assert (names(endpoints, "ada"), len(endpoints)) == ([], 1)
    assert names(endpoints, "ada", WebhookEvent.FAILED) == [ID]
    endpoints.apply("endpoints", ID.encode(), None)
    assert (names(endpoints, "ada", WebhookEvent.FAILED), len(endpoints)) == ([], 0)
    assert endpoints.get(ID) is None


def test_states_are_decoded_only_while_an_endpoint_asks_for_running_jobs():
    endpoints = table(endpoint(events=("job.finished", "endpoint.disabled")))
    assert not endpoints.subscribe_to_running
    other = endpoint("ep_87654321", ("job.progress",))
    for value in (other.model_dump_json().encode(),) * 2:
        endpoints.apply("endpoints", b"ep_87654321", value)
    assert endpoints.subscribe_to_running
    endpoints.apply("endpoints", b"ep_87654321", None)
    assert not endpoints.subscribe_to_running


@pytest.mark.parametrize("value", [b"", b"{}", b'{"endpoint_id":1}'])
@pytest.mark.parametrize("topic", ["endpoints", "status"])
def test_a_record_that_cannot_be_decoded_leaves_the_last_one(topic: str, value: bytes):
    endpoints = table(endpoint())
    endpoints.apply(topic, ID.encode(), value)
    endpoints.apply(topic, b"\xff", value)
    assert names(endpoints, None) == [ID]


def test_a_record_under_the_key_of_another_endpoint_is_left_out():
    endpoints = table()
    endpoints.apply("endpoints", b"ep_other001", endpoint().model_dump_json().encode())
    assert len(endpoints) == 0
