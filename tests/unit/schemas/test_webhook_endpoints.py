"""An endpoint's secrets overlap as promised, and it is disabled until its owner enables it."""

from __future__ import annotations

import pytest

from schemas.webhooks import EndpointSecret, EndpointStatus, WebhookEndpoint, WebhookTest
from schemas.webhooks.endpoints import MAX_SECRETS

CREATED = "2026-01-01T00:00:00.000Z"
DAY_S = 86_400.0


def secret(sealed: str) -> EndpointSecret:
    return EndpointSecret(sealed=sealed, created_at=CREATED)


def endpoint(**fields: object) -> WebhookEndpoint:
    first = secret("s0")
    known = {"endpoint_id": "ep_12345678", "url": "https://example.org", "secrets": (first,)}
    times = dict.fromkeys(("created_at", "updated_at", "enabled_at"), CREATED)
    return WebhookEndpoint.model_validate(known | times | fields)


def names(of: WebhookEndpoint, at: str) -> list[str]:
    return [each.sealed for each in of.signing(at)]


def test_both_secrets_sign_until_the_overlap_ends():
    rotated = endpoint().rotate(secret("s1"), "2026-01-02T00:00:00.000Z", DAY_S)
    assert names(rotated, "2026-01-02T00:00:00.000Z") == ["s1", "s0"]
    assert names(rotated, "2026-01-02T23:59:59.999Z") == ["s1", "s0"]
    assert names(rotated, "2026-01-03T00:00:00.000Z") == ["s1"]


def test_a_second_rotation_neither_shortens_nor_extends_the_first_overlap():
    once = endpoint().rotate(secret("s1"), "2026-01-02T00:00:00.000Z", DAY_S)
    twice = once.rotate(secret("s2"), "2026-01-02T12:00:00.000Z", DAY_S)
    assert names(twice, "2026-01-02T23:59:59.999Z") == ["s2", "s1", "s0"]
    assert names(twice, "2026-01-03T00:00:00.000Z") == ["s2", "s1"]
    assert names(twice, "2026-01-03T12:00:00.000Z") == ["s2"]
    assert twice.rotated_at == "2026-01-02T12:00:00.000Z"


def test_a_rotation_without_overlap_ends_the_old_secret_at_once():
    rotated = endpoint().rotate(secret("s1"), "2026-01-02T00:00:00.000Z", 0)
    assert [each.sealed for each in rotated.secrets] == ["s1"]


def test_many_rotations_keep_the_newest_secrets():
    rotated = endpoint()
    for number in range(1, 10):
        rotated = rotated.rotate(secret(f"s{number}"), "2026-01-02T00:00:00.000Z", DAY_S)
    assert names(rotated, "2026-01-02T00:00:01.000Z") == ["s9", "s8", "s7", "s6", "s5"]
    assert len(rotated.secrets) == MAX_SECRETS


def test_the_notifier_disables_it_until_its_owner_enables_it():
    status = EndpointStatus(
        endpoint_id="ep_12345678", disabled_at="2026-01-06T00:00:00.000Z", reason="It answered 410."
    )
    assert endpoint().why_disabled(None) is None
    assert endpoint().why_disabled(status) == "It answered 410."
    enabled = endpoint(disabled=True).enable(status, "2026-01-07T00:00:00.000Z")
    assert enabled.why_disabled(status) is None


@pytest.mark.parametrize("at", ["2026-01-05T23:59:59.000Z", "2026-01-06T00:00:00.000Z"])
def test_a_clock_that_is_behind_the_notifiers_enables_it_too(at: str):
    status = EndpointStatus(endpoint_id="ep_12345678", disabled_at="2026-01-06T00:00:00.000Z")
    assert endpoint().enable(status, at).why_disabled(status) is None


def test_an_owners_own_reason_is_given():
    paused = endpoint(disabled=True, disabled_reason="We move.")
    assert paused.why_disabled(None) == "We move."
    assert endpoint(disabled=True).why_disabled(None)


def test_failures_before_it_was_enabled_do_not_count():
    status = EndpointStatus(endpoint_id="ep_12345678", failing_since="2026-01-02T00:00:00.000Z")
    assert endpoint().failing_since(status) == "2026-01-02T00:00:00.000Z"
    assert endpoint(enabled_at="2026-01-03T00:00:00.000Z").failing_since(status) is None
    assert endpoint().failing_since(None) is None


def test_a_test_event_is_found_by_a_delivery_id_of_its_own():
    ids = {
        WebhookTest(command_id=command, endpoint_id=at, at=CREATED).delivery_id
        for command in ("c1", "c2")
        for at in ("ep_12345678", "ep_87654321")
    }
    assert len(ids) == 4
