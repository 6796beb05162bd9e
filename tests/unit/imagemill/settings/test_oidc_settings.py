"""Settings of an OIDC issuer that would not be safe, or are mistyped, are refused at the start."""

from __future__ import annotations

from typing import Any

import pytest

from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.oidc import OidcSettings

URL = "https://login.example.org"


def made(**fields: Any) -> OidcSettings:
    values = {"oidc_issuer": URL, "oidc_audience": "imagemill"} | fields
    return OidcSettings(_env_file=None, **values)  # type: ignore[call-arg]


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8080/a", "http://[::1]/", "https://a/b/"])
def test_urls_with_tls_or_of_this_machine_are_taken(url: str) -> None:
    assert made(oidc_issuer=url).oidc_issuer == url


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("oidc_issuer", "http://login.example.org", "IMAGEMILL_OIDC_ISSUER: must begin with https"),
        ("oidc_jwks_url", "http://10.0.0.1/keys", "IMAGEMILL_OIDC_JWKS_URL: must begin with https"),
        ("oidc_issuer", "login.example.org", "IMAGEMILL_OIDC_ISSUER: must be a URL such as"),
        ("oidc_issuer", f"{URL}?a=b", "must be a URL such as"),
        ("oidc_audience", " , ", "IMAGEMILL_OIDC_AUDIENCE: must be set"),
        ("oidc_algorithms", "RS256, HS256", "OIDC_ALGORITHMS: must be some of RS256"),
        ("oidc_algorithms", "none", "Ed25519, and not none"),
        ("oidc_algorithms", "", "OIDC_ALGORITHMS: must be some of RS256"),
        ("oidc_rules", "{", "IMAGEMILL_OIDC_RULES: must be a JSON list of rules"),
        ("oidc_rules", "{}", "the list: Input should be a valid list"),
        ("oidc_rules", '[{"scopes": ["jobs:all"]}]', "0.scopes.0: Input should be 'jobs:write'"),
        ("oidc_rules", '[{"claims": "groups"}]', "0.claims: Extra inputs are not permitted"),
        ("oidc_rules", '[{"value": "x"}]', "a rule with a value must name its claim"),
        ("oidc_rules", '[{"weight": 0}]', "0.weight: Input should be greater than"),
    ],
)
def test_a_setting_that_is_wrong_is_named(field: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsInvalid) as error:
        made(**{field: value})
    assert sentence in str(error.value)
