"""The record of an endpoint carries its secrets and headers sealed."""

from __future__ import annotations

import pytest

from imagemill.webhooks.endpoints import open_headers, open_secret, seal_headers, seal_secret
from imagemill.webhooks.sealing import CannotOpen, Sealer
from imagemill.webhooks.secrets import SecretInvalid, Signature, new_secret
from schemas.webhooks import WebhookEndpoint

AT = "2026-01-01T00:00:00.000Z"
ID = "ep_12345678"
SEALER = Sealer([bytes(32)])


def endpoint(secret: str, headers: dict[str, str]) -> WebhookEndpoint:
    return WebhookEndpoint(
        endpoint_id=ID,
        url="https://example.org",
        headers=seal_headers(SEALER, ID, headers),
        secrets=(seal_secret(SEALER, ID, secret, AT),),
        created_at=AT,
        updated_at=AT,
        enabled_at=AT,
    )


@pytest.mark.parametrize("scheme", Signature)
def test_the_record_does_not_contain_what_it_keeps(scheme: Signature):
    secret = new_secret(scheme)
    made = endpoint(secret, {"Authorization": "Bearer 0123456789"})
    written = made.model_dump_json()
    assert secret not in written and "0123456789" not in written
    read = WebhookEndpoint.model_validate_json(written)
    assert open_secret(SEALER, ID, read.secrets[0]) == secret
    assert open_headers(SEALER, read) == {"Authorization": "Bearer 0123456789"}
    assert (read.secrets[0].public_key is not None) == (scheme is Signature.ED25519)


def test_a_header_does_not_open_under_another_name():
    made = endpoint(new_secret(), {"Authorization": "Bearer 0123456789"})
    moved = made.evolve(headers={"x-shown": made.headers["Authorization"]})
    with pytest.raises(CannotOpen):
        open_headers(SEALER, moved)


def test_a_malformed_secret_is_not_sealed():
    with pytest.raises(SecretInvalid):
        seal_secret(SEALER, ID, "hunter2", AT)
