"""Tokens of a local OIDC issuer: real signatures, keys over HTTP, and every way to be refused."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey

from imagemill.settings.oidc import OidcSettings
from producer_api.access.oidc.issuer_keys import FLOOR_S, MAX_AGE_S, REFRESH_S, IssuerKeys
from producer_api.access.oidc.verifier import OidcVerifier
from producer_api.access.problems import Unauthenticated
from producer_api.http.problems import Problem
from schemas.access import Scope
from schemas.jobs import Priority
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.waiting import wait_until_async


class Clock:
    """A monotonic clock that a test moves on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer(free_port: Callable[[], int]) -> AsyncIterator[Issuer]:
    running = await Issuer(free_port()).start()
    yield running
    await running.stop()


def settings_of(issuer: Issuer, **fields: Any) -> OidcSettings:
    values = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE} | fields
    return OidcSettings(_env_file=None, **values)  # type: ignore[call-arg]


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> Callable[..., OidcVerifier]:
    """Make a verifier of the issuer's tokens."""

    def make(**fields: Any) -> OidcVerifier:
        settings = settings_of(issuer, **fields)
        return OidcVerifier(settings, IssuerKeys(settings, clock))

    return make


def _lenient() -> jws.JWSRegistry:
    """Make a registry that signs any header."""
    registry = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    registry.max_header_length = 4096
    registry.check_header = lambda header: None
    return registry


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


async def refusal(verifier: OidcVerifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await verifier.verify(token)
    return str(refused.value)


async def unavailable(verifier: OidcVerifier, token: str) -> None:
    with pytest.raises(Problem) as problem:
        await verifier.verify(token)
    assert (problem.value.status, problem.value.code) == (503, "issuer_unavailable")
    assert problem.value.headers["Retry-After"]


async def test_a_token_stands_for_its_subject_and_scopes(issuer, verifier) -> None:
    caller = await verifier().verify(issuer.token())
    assert (caller.owner, caller.name, caller.key_id) == ("ada", "ada", None)
    assert caller.scopes == {Scope.JOBS_READ}
    assert caller.own_only


@pytest.mark.filterwarnings("ignore:EdDSA")
@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (Issuer.rsa_key, "RS256"),
        (Issuer.rsa_key, "PS512"),
        (Issuer.ec_key, "ES256"),
        (Issuer.ed_key, "EdDSA"),
        (Issuer.ed_key, "Ed25519"),
    ],
)
async def test_each_kind_of_signature_is_verified(issuer, verifier, make, algorithm) -> None:
    issuer.keys = [make("k")]
    assert (await verifier().verify(issuer.token(algorithm=algorithm))).owner == "ada"
    other = issuer.token(key=make("k"), algorithm=algorithm)
    assert (
        await refusal(verifier(), other) == "The signature of the token or its header is not valid."
    )


async def test_keys_are_fetched_once_for_many_tokens(issuer, verifier) -> None:
    several = verifier()
    await asyncio.gather(*(several.verify(issuer.token()) for _ in range(20)))
    assert issuer.requests == {"openid-configuration": 1, "keys": 1}


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"exp": 1_000_000_000}, "has expired"),
        ({"exp": None}, "no time of expiry"),
        ({"exp": "tomorrow"}, "exp of the token is no number"),
        ({"nbf": 32_000_000_000}, "not valid yet"),
        ({"iat": 32_000_000_000}, "not valid yet"),
        ({"aud": "another"}, "another audience; ask for one for imagemill"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {"imagemill": True}}, "another audience"),
        ({"iss": "https://login.example.org"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"sub": None}, "claim sub of the token"),
        ({"sub": "no account: spaces"}, "claim sub of the token"),
        ({"sub": 7}, "claim sub of the token"),
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(issuer, verifier, claims, sentence) -> None:
    assert sentence in await refusal(verifier(), issuer.token(**claims))


async def test_a_time_that_is_no_number_at_all_is_refused(issuer, verifier) -> None:
    for text in ("NaN", "Infinity"):
        key = issuer.keys[0]
        token = jwt.encode(
            {"alg": "RS256", "kid": key.kid},
            {"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "exp": float(text)},
            key,
        )
        assert "exp of the token is no number" in await refusal(verifier(), token)


async def test_clocks_may_differ_a_little(issuer, verifier) -> None:
    now = int(time.time())
    late, early = issuer.token(exp=now - 20), issuer.token(nbf=now + 20, iat=now + 20)
    for token in (late, early):
        assert (await verifier().verify(token)).owner == "ada"
        await refusal(verifier(oidc_leeway_s=5), token)


async def test_one_of_several_audiences_is_enough(issuer, verifier) -> None:
    chosen = verifier(oidc_audience="a, imagemill")
    assert (await chosen.verify(issuer.token(aud=["x", "imagemill"]))).owner == "ada"


async def test_a_signature_by_a_public_key_as_a_secret_is_refused(issuer, verifier) -> None:
    # The attack on libraries that let the token choose: HMAC with the public key as its secret.
    pem = issuer.keys[0].as_pem(private=False)
    head = json.dumps({"alg": "HS256", "kid": "first"}).encode()
    signed = f"{_encoded(head)}.{issuer.token().split('.')[1]}"
    mac = hmac.digest(pem, signed.encode(), "sha256")
    forged = f"{signed}.{_encoded(mac)}"
    assert await refusal(verifier(), forged) == (
        "The token is signed by an algorithm that is not taken here."
    )
    assert issuer.requests == {}


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS512", "ES256K", "", None, 7])
async def test_a_token_with_another_algorithm_is_refused(issuer, verifier, algorithm) -> None:
    head, claims, signature = issuer.token().split(".")
    head = json.dumps({"alg": algorithm, "kid": "first"}).encode()
    encoded = _encoded(head)
    for end in ("", signature):
        sentence = await refusal(verifier(), f"{encoded}.{claims}.{end}")
        assert "algorithm that is not taken" in sentence or "neither an API key" in sentence


async def test_a_key_set_with_a_secret_verifies_nothing(issuer, verifier) -> None:
    secret = OctKey.generate_key(256, {"kid": "secret"})
    issuer.keys.append(secret)
    forged = issuer.token(key=secret, algorithm="HS256")
    assert "algorithm that is not taken" in await refusal(verifier(), forged)
    assert (await verifier().verify(issuer.token())).owner == "ada"


async def test_a_key_in_the_header_of_the_token_is_not_used(issuer, verifier) -> None:
    own = Issuer.rsa_key("first")
    header = {"jwk": own.as_dict(private=False)}
    token = issuer.token(key=own, header=header, registry=_lenient())
    assert "signature" in await refusal(verifier(), token)


async def test_header_parameters_that_issuers_add_are_ignored(issuer, verifier) -> None:
    header = {"nonce": "n" * 600, "x5t": "abc", "typ": "at+jwt"}
    token = issuer.token(header=header, registry=_lenient())
    assert (await verifier().verify(token)).owner == "ada"


async def test_a_critical_header_parameter_that_is_not_known_is_refused(issuer, verifier) -> None:
    token = issuer.token(header={"crit": ["exp"], "exp": 1}, registry=_lenient())
    assert "header is not valid" in await refusal(verifier(), token)


async def test_a_changed_claim_breaks_the_signature(issuer, verifier) -> None:
    head, claims, signature = issuer.token().split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": "eve"}
    encoded = _encoded(json.dumps(changed).encode())
    assert "signature" in await refusal(verifier(), f"{head}.{encoded}.{signature}")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30", "ünïcode.a.b", "eyJ\x00.a.b", "e30" * 2000],
    ids=repr,
)
async def test_a_text_that_is_no_token_is_refused(verifier, text: str) -> None:
    assert await refusal(verifier(), text)


async def test_an_algorithm_may_be_left_out_by_setting(issuer, verifier) -> None:
    chosen = verifier(oidc_algorithms="ES256")
    assert "algorithm that is not taken" in await refusal(chosen, issuer.token())


async def test_a_key_for_another_algorithm_is_not_used(issuer, verifier) -> None:
    token = issuer.token(algorithm="RS256")
    issuer.keys[0] = issuer.keys[0].import_key(issuer.keys[0].as_dict(private=True, alg="RS512"))
    assert "does not have" in await refusal(verifier(), token)
    issuer.keys[0] = Issuer.ec_key("first")
    forged = issuer.token(key=Issuer.rsa_key("first"))
    assert "does not have" in await refusal(verifier(), forged)


async def test_a_key_for_encryption_is_not_used(issuer, verifier) -> None:
    key = issuer.keys[0]
    issuer.keys.append(key.import_key(key.as_dict(private=True, kid="other", use="enc")))
    token = issuer.token(key=issuer.keys[0], header={"kid": "other"})
    assert "does not have" in await refusal(verifier(), token)


async def test_a_token_without_a_key_id_is_verified_with_the_only_key(issuer, verifier) -> None:
    token = issuer.token(header={"kid": None})
    assert (await verifier().verify(token)).owner == "ada"
    issuer.keys.append(Issuer.rsa_key("second"))
    assert "does not have" in await refusal(verifier(), token)


async def test_a_new_key_of_the_issuer_is_found_at_its_first_token(issuer, verifier, clock) -> None:
    rotating = verifier()
    await rotating.verify(issuer.token())
    clock.seconds += FLOOR_S
    issuer.keys = [Issuer.rsa_key("second")]
    assert (await rotating.verify(issuer.token())).owner == "ada"
    assert issuer.requests["keys"] == 2


async def test_invented_key_ids_do_not_make_a_request_each(issuer, verifier, clock) -> None:
    flooded = verifier()
    for number in range(50):
        forged = issuer.token(header={"kid": f"invented {number}"})
        assert "does not have" in await refusal(flooded, forged)
    assert issuer.requests["keys"] == 1
    clock.seconds += FLOOR_S
    await refusal(flooded, issuer.token(header={"kid": "another"}))
    await refusal(flooded, issuer.token(header={"kid": "another"}))
    assert issuer.requests["keys"] == 2


async def test_a_removed_key_is_refused_after_some_minutes(issuer, verifier, clock) -> None:
    removing = verifier()
    old = issuer.token()
    await removing.verify(old)
    issuer.keys = [Issuer.rsa_key("second")]
    clock.seconds += REFRESH_S + 1
    # The first token after that time starts the fetch and does not wait for it.
    await removing.verify(old)
    await wait_until_async(lambda: issuer.requests["keys"] == 2)
    clock.seconds += FLOOR_S
    assert "does not have" in await refusal(removing, old)


async def test_while_the_issuer_is_away_at_the_start_tokens_are_answered_503(
    issuer, verifier, clock, caplog
) -> None:
    await issuer.stop()
    starting = verifier()
    token = issuer.token()
    await unavailable(starting, token)
    await issuer.start()
    # Not asked again within the floor.
    await unavailable(starting, token)
    assert issuer.requests == {}
    clock.seconds += FLOOR_S
    assert (await starting.verify(token)).owner == "ada"
    assert issuer.url in caplog.text


async def test_known_keys_serve_on_while_the_issuer_is_away_for_a_day(
    issuer, verifier, clock
) -> None:
    running = verifier()
    token = issuer.token()
    await running.verify(token)
    await issuer.stop()
    clock.seconds += MAX_AGE_S - 1
    assert (await running.verify(token)).owner == "ada"
    clock.seconds += FLOOR_S
    await unavailable(running, token)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://login.example.org"},
        {"jwks_uri": None},
        {"jwks_uri": "http://10.0.0.1/keys"},
        {"jwks_uri": "http://169.254.169.254/latest"},
        {"jwks_uri": "https://127.0.0.2/keys"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)
async def test_a_configuration_that_leads_elsewhere_is_not_followed(
    issuer, verifier, change
) -> None:
    issuer.configuration |= change
    await unavailable(verifier(), issuer.token())
    assert "keys" not in issuer.requests


async def test_the_url_of_the_keys_may_be_set(issuer, verifier) -> None:
    chosen = verifier(oidc_jwks_url=f"{issuer.url}/keys")
    assert (await chosen.verify(issuer.token())).owner == "ada"
    assert issuer.requests == {"keys": 1}


async def test_rules_give_scopes_and_limits(issuer, verifier) -> None:
    rules = [
        {"claim": "groups", "value": "batch", "scopes": ["jobs:write"], "max_priority": "low"},
        {"claim": "realm_access.roles", "value": "images", "scopes": ["results:read"],
         "images_per_day": 100, "max_priority": "high"},
        {"claim": "https://example.org/vip", "weight": 3, "urls_allowed": False},
        {"requests_per_s": 5},
    ]  # fmt: skip
    mapped = verifier(oidc_rules=json.dumps(rules), oidc_scope_claim="")
    token = issuer.token(
        groups=["staff", "batch"],
        realm_access={"roles": ["images"]},
        scope="admin",
        **{"https://example.org/vip": True},
    )
    caller = await mapped.verify(token)
    assert caller.scopes == {Scope.JOBS_WRITE, Scope.RESULTS_READ}
    assert caller.max_priority is Priority.LOW
    assert (caller.images_per_day, caller.weight, caller.requests_per_s) == (100, 3, 5)
    assert (caller.urls_allowed, caller.webhooks_allowed) == (False, True)

    plain = await mapped.verify(issuer.token())
    assert (plain.scopes, plain.requests_per_s, plain.weight) == (frozenset(), 5, 1)


async def test_an_owner_may_come_from_another_claim_and_an_admin_sees_everything(
    issuer, verifier
) -> None:
    rules = '[{"claim": "groups", "value": "ops", "scopes": ["admin"]}]'
    chosen = verifier(
        oidc_owner_claim="org.id", oidc_name_claim="preferred_username", oidc_rules=rules
    )
    token = issuer.token(org={"id": "acme"}, preferred_username="Ada L.", groups="ops")
    caller = await chosen.verify(token)
    assert (caller.owner, caller.name) == ("acme", "Ada L.")
    assert caller.sees("another")
