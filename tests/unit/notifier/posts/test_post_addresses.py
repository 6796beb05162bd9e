"""A post goes to the endpoint as it is today."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook

from imagemill.webhooks.endpoints import seal_headers, seal_secret
from imagemill.webhooks.sealing import Sealer
from imagemill.webhooks.secrets import new_secret
from notifier.endpoints import Endpoints
from notifier.posts.addresses import Addresses, NotPosted, NotSigned
from schemas.times import from_epoch, now
from schemas.webhooks import WebhookDelivery, WebhookEndpoint, WebhookTrigger
from tests.support.endpoints import ID, SEALER, endpoint

OWN = new_secret()
DELIVERY = WebhookDelivery(
    delivery_id="msg_1", url="https://old.test/hook", body="{}", endpoint_id=ID
)


def addresses(*endpoints: WebhookEndpoint, sealer: Sealer = SEALER) -> Addresses:
    table = Endpoints("endpoints", "status")
    for each in endpoints:
        table.apply("endpoints", each.endpoint_id.encode(), each.model_dump_json().encode())
    return Addresses(table, sealer, OWN)


def verified(headers: dict[str, str], secret: str) -> bool:
    return Webhook(secret).verify("{}", headers) == {}


def test_a_jobs_own_webhook_is_signed_with_the_secret_of_the_deployment():
    delivery = WebhookDelivery(job_id="j", delivery_id="msg_1", url="https://a.test", body="{}")
    assert addresses().addressed(delivery) is delivery
    assert verified(dict(addresses().headers(delivery, time.time())), OWN)


def test_a_delivery_that_waited_goes_to_the_url_of_today():
    assert addresses(endpoint()).addressed(DELIVERY).url == "https://receiver.test/hook"


def test_both_secrets_sign_while_a_rotation_lasts_and_one_afterwards():
    old, new, at = new_secret(), new_secret(), now()
    newest = seal_secret(SEALER, ID, new, at)
    rotated = addresses(endpoint(secret=old).rotate(newest, at, 3600))
    headers = dict(rotated.headers(DELIVERY, time.time()))
    assert verified(headers, old) and verified(headers, new)
    past = from_epoch(time.time() - 7200)
    over = addresses(endpoint(secret=old).rotate(seal_secret(SEALER, ID, new, past), past, 3600))
    assert len(over.headers(DELIVERY, time.time())["webhook-signature"].split(" ")) == 1


def test_own_headers_are_sent_but_replace_none_of_the_standard():
    own = {"Authorization": "Bearer x", "Webhook-Id": "mine", "Host": "evil", "content-length": "1"}
    headers = addresses(endpoint(headers=own)).headers(DELIVERY, time.time())
    assert headers["authorization"] == "Bearer x"
    assert headers.getall("webhook-id") == ["msg_1"]
    assert "host" not in headers and "content-length" not in headers


def test_a_deleted_endpoint_gets_no_post():
    with pytest.raises(NotPosted, match="deleted"):
        addresses().addressed(DELIVERY)


def test_a_disabled_endpoint_gets_what_is_asked_for_alone():
    disabled = addresses(endpoint(disabled=True, disabled_reason="We move."))
    with pytest.raises(NotPosted, match="We move"):
        disabled.addressed(DELIVERY)
    for trigger in (WebhookTrigger.REPLAY, WebhookTrigger.TEST):
        assert disabled.addressed(DELIVERY.evolve(trigger=trigger)).endpoint_id == ID


@pytest.mark.parametrize(
    "broken",
    [
        endpoint(headers={"x": "y"}).evolve(headers={"x": "plain"}),
        endpoint().evolve(secrets=()),
        endpoint().evolve(headers=seal_headers(SEALER, "ep_other001", {"x": "y"})),
    ],
)
def test_a_post_that_cannot_be_signed_says_so(broken: WebhookEndpoint):
    with pytest.raises(NotSigned, match=ID):
        addresses(broken).headers(DELIVERY, time.time())


def test_another_key_than_the_apis_is_named():
    with pytest.raises(NotSigned, match="IMAGEMILL_WEBHOOK_ENCRYPTION_KEY"):
        addresses(endpoint(), sealer=Sealer([bytes(32)])).headers(DELIVERY, time.time())
