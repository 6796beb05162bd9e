"""Secrets of Standard Webhooks are made and checked in both schemes."""

from __future__ import annotations

import base64

import pytest

from imagemill.webhooks.secrets import (
    SecretInvalid,
    Signature,
    new_secret,
    public_key,
    scheme_of,
)

# RFC 8032, 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def text(prefix: str, data: bytes) -> str:
    return prefix + base64.b64encode(data).decode()


@pytest.mark.parametrize("scheme", Signature)
def test_a_new_secret_is_of_its_scheme_and_unique(scheme: Signature):
    first, second = new_secret(scheme), new_secret(scheme)
    assert first != second
    assert scheme_of(first) == scheme_of(second) == scheme


def test_receivers_get_the_public_key_of_ed25519_alone():
    assert public_key(text("whsk_", SEED)) == text("whpk_", PUBLIC)
    assert public_key(text("whsk_", SEED + PUBLIC)) == text("whpk_", PUBLIC)
    assert public_key(new_secret()) is None


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "hunter2",
        "whsec_",
        "whsec_!!",
        text("whsec_", b"x" * 23),
        text("whsec_", b"x" * 65),
        text("whsk_", b"x" * 31),
        text("whsk_", SEED + SEED),
        text("whpk_", PUBLIC),
        "whsec_é",
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(secret: str):
    with pytest.raises(SecretInvalid) as refused:
        scheme_of(secret)
    assert len(secret) < 8 or secret[6:] not in str(refused.value)
