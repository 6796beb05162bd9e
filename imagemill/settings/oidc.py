"""Settings of the OIDC issuer whose tokens the API takes, and of what its tokens may do."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic import Strict as StrictMode

from imagemill.settings.environment import EnvironmentSettings
from schemas.access import Scope
from schemas.base import Array, Strict
from schemas.jobs import MAX_WEIGHT, Priority

# Signatures that whoever can verify them cannot make: with HS256 the verifier's secret signs too.
ASYMMETRIC_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
)  # fmt: skip
_RULE_EXAMPLE = '[{"claim": "groups", "value": "images", "scopes": ["jobs:write", "jobs:read"]}]'


class OidcRule(Strict):
    """Rights of the tokens that have a claim of some value; of all tokens without `claim`."""

    claim: str | None = Field(
        None, min_length=1, description="Claim to look at; dots lead into objects."
    )
    value: str | None = Field(
        None,
        description="Value that the claim must have, or one entry of it if it is a list or has "
        "spaces; any value if null.",
    )
    scopes: Array[Annotated[Scope, StrictMode(False)]] = Field(
        (), description="Scopes that such a token has, beside those of other rules."
    )
    max_priority: Annotated[Priority, StrictMode(False)] | None = Field(
        None, description="Highest priority of its jobs."
    )
    weight: int | None = Field(
        None, ge=1, le=MAX_WEIGHT, description="Share of the workers' time beside other owners."
    )
    requests_per_s: float | None = Field(None, gt=0, description="Most requests in a second.")
    images_per_day: int | None = Field(None, ge=1, description="Most images in a day (UTC).")
    megapixels_per_day: float | None = Field(
        None, gt=0, description="Most megapixels in a day (UTC)."
    )
    webhooks_allowed: bool | None = Field(None, description="True if jobs may name webhook URLs.")
    urls_allowed: bool | None = Field(None, description="True if jobs may name image URLs.")
    own_only: bool | None = Field(
        None, description="True if it sees only what belongs to its owner, as by default."
    )

    @model_validator(mode="after")
    def _value_has_a_claim(self) -> Self:
        if self.value is not None and self.claim is None:
            raise ValueError("a rule with a value must name its claim")
        return self


_RULES = TypeAdapter(list[OidcRule])


def parse_rules(text: str) -> tuple[OidcRule, ...]:
    """Read a JSON list of rules.

    Raises:
        ValueError: it is not one; the text says where.
    """
    try:
        found = json.loads(text or "[]")
    except json.JSONDecodeError as error:
        raise ValueError(f"must be a JSON list of rules, such as {_RULE_EXAMPLE}") from error
    try:
        return tuple(_RULES.validate_python(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{where or 'the list'}: {first['msg']}; such as {_RULE_EXAMPLE}"
        ) from None


class OidcSettings(EnvironmentSettings):
    """Bearer tokens (JWT) of an OpenID Connect issuer, beside API keys."""

    oidc_issuer: str | None = Field(
        None,
        description="URL of the OIDC issuer, exactly as its tokens have it in `iss`; tokens are "
        "taken if it is set",
    )
    oidc_audience: str | None = Field(
        None,
        description="audiences, comma separated, of which tokens must have one in `aud`; needed "
        "with an issuer",
    )
    oidc_jwks_url: str | None = Field(
        None,
        description="URL of the issuer's keys (JWKS); if unset, from its "
        "/.well-known/openid-configuration",
    )
    oidc_ca: Path | None = Field(
        None, description="CA certificates (PEM) of the issuer; the system's if unset"
    )
    oidc_algorithms: str = Field(
        ",".join(ASYMMETRIC_ALGORITHMS),
        description="signature algorithms that are taken, comma separated",
    )
    oidc_leeway_s: float = Field(
        30.0, ge=0, le=600, description="seconds that the issuer's clock may differ from ours"
    )
    oidc_owner_claim: str = Field(
        "sub",
        min_length=1,
        description="claim with the account that jobs belong to; users must not be able to choose "
        "it themselves",
    )
    oidc_name_claim: str = Field(
        "sub", min_length=1, description="claim with the caller's name for audit records"
    )
    oidc_scope_claim: str = Field(
        "scope",
        description="claim whose words are taken as scopes where they are named as ours, such as "
        "jobs:write; empty for none, so that IMAGEMILL_OIDC_RULES alone give scopes",
    )
    oidc_rules: str = Field(
        "",
        description=f"JSON list of rules from claims to scopes and limits, such as {_RULE_EXAMPLE}",
    )

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _url_is_safe(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must be a URL such as https://login.example.org/realms/images")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError(
                "must begin with https://: whoever can change the answer of http:// could sign "
                "tokens of any caller (http:// is taken for this machine only)"
            )
        return url

    @field_validator("oidc_algorithms")
    @classmethod
    def _algorithms_are_asymmetric(cls, text: str) -> str:
        named = parse_list(text)
        if not named or (others := sorted(named - set(ASYMMETRIC_ALGORITHMS))):
            wrong = f", and not {', '.join(others)}" if named else ""
            raise ValueError(f"must be some of {', '.join(ASYMMETRIC_ALGORITHMS)}{wrong}")
        return text

    @field_validator("oidc_rules")
    @classmethod
    def _rules_are_json(cls, text: str) -> str:
        parse_rules(text)
        return text

    @model_validator(mode="after")
    def _an_issuer_has_an_audience(self) -> Self:
        if self.oidc_issuer and not parse_list(self.oidc_audience or ""):
            raise ValueError(
                "IMAGEMILL_OIDC_AUDIENCE: must be set, as IMAGEMILL_OIDC_ISSUER is; otherwise "
                "tokens that the issuer made for other services would be taken"
            )
        return self


def parse_list(text: str) -> frozenset[str]:
    """Return the entries of a comma separated list."""
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
