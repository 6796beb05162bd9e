"""Signatures against the published vectors of Standard Webhooks and of Svix."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from imagemill.webhooks.secrets import Signature, new_secret, public_key
from notifier.posts.signing import signatures

# standard-webhooks/libraries/python, test_sign_function.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# svix-webhooks/server/svix-server/src/worker.rs, test_asymmetric_key_signing.
PRIVATE = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


# Both vectors sign the same message.
MESSAGE, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}'
AT = datetime.fromtimestamp(1614265330, UTC)


def test_the_published_vector_of_v1():
    assert signatures([SECRET], MESSAGE, AT, BODY) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_the_published_vector_of_v1a():
    assert public_key(PRIVATE) == PUBLIC
    assert signatures([PRIVATE], MESSAGE, AT, BODY) == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )


def test_each_secret_of_a_rotation_has_a_signature_that_its_receivers_verify():
    now = datetime.now(UTC)
    old, new, private = new_secret(), new_secret(), new_secret(Signature.ED25519)
    header = signatures([private, new, old], "msg_1", now, '{"a":"é"}')
    assert [each.split(",")[0] for each in header.split(" ")] == ["v1a", "v1", "v1"]
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": header,
    }
    for secret in (old, new):
        assert Webhook(secret).verify('{"a":"é"}'.encode(), headers) == {"a": "é"}
    verify_v1a(private, header, f"msg_1.{int(now.timestamp())}." + '{"a":"é"}')


def verify_v1a(private: str, header: str, signed: str) -> None:
    public = public_key(private)
    assert public is not None
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    signature = base64.b64decode(header.split(" ")[0].removeprefix("v1a,"))
    key.verify(signature, signed.encode())
    with pytest.raises(InvalidSignature):
        key.verify(signature, signed.encode() + b" ")
