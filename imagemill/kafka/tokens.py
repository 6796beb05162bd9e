"""Tokens for SASL OAUTHBEARER: OAuth 2.0 client credentials (OIDC), and AWS MSK's IAM."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import urllib3

from imagemill.settings import KafkaSettings
from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.kafka import parse_extensions

# A token is replaced when this share of its lifetime is over, as librdkafka does.
_REFRESH_AT = 0.8
# Assumed where a token server does not say how long its token lives (RFC 6749 5.1 lets it).
_UNKNOWN_LIFETIME_S = 300.0
_TIMEOUT_S = 10.0
# b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com, boot-abc.c1.kafka-serverless.us-east-1....
_MSK_HOST = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")


class TokenError(Exception):
    """No token could be had; the sentence says why and holds no secret."""


class Token(NamedTuple):
    """A bearer token; `expires_at_s` is in Unix seconds, `principal` is for the client's logs."""

    value: str
    expires_at_s: float
    principal: str


class TokenSource:
    """Gives the current token, a new one in time; safe to call from several threads.

    `extensions` are SASL extensions (RFC 7628 3.1), such as Confluent Cloud's logicalCluster.
    """

    def __init__(
        self,
        request: Callable[[], Token],
        extensions: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.extensions = extensions
        self._request = request
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._refresh_at_s = 0.0

    def token(self) -> Token:
        """Return a token of which at least a fifth of its lifetime is left.

        Raises:
            TokenError: none could be had.
        """
        with self._lock:
            now = self._clock()
            if self._token is None or now >= self._refresh_at_s:
                self._token = self._request()
                self._refresh_at_s = now + _REFRESH_AT * (self._token.expires_at_s - now)
            return self._token


def token_source(settings: KafkaSettings) -> TokenSource | None:
    """Return the process's token source; None for a mechanism with a password.

    Raises:
        SettingsInvalid: a setting that the mechanism needs is missing.
    """
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        secret = settings.kafka_oauth_client_secret
        ca = settings.kafka_oauth_ca_location
        return _oidc_source(
            settings.kafka_oauth_token_url or "",
            settings.kafka_oauth_client_id or "",
            secret.get_secret_value() if secret else "",
            settings.kafka_oauth_scope,
            settings.kafka_oauth_extensions,
            str(ca) if ca else None,
        )
    if settings.kafka_sasl_mechanism == "AWS_MSK_IAM":
        return _msk_source(_region(settings))
    return None


# One source a process, so that its clients share the token.
@cache
def _oidc_source(
    url: str,
    client_id: str,
    client_secret: str,
    scope: str | None,
    extensions: str,
    ca: str | None,
) -> TokenSource:
    # Through a proxy no token server of a cluster is reached; retries are the Kafka client's.
    pool = urllib3.PoolManager(
        timeout=_TIMEOUT_S, retries=False, ca_certs=ca, cert_reqs="CERT_REQUIRED"
    )
    # RFC 6749 2.3.1: both are form-encoded before they are joined.
    basic = base64.b64encode(f"{quote(client_id, '')}:{quote(client_secret, '')}".encode())
    fields = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})

    def request() -> Token:
        asked_at_s = time.time()
        try:
            answer = pool.request_encode_body(
                "POST",
                url,
                fields=fields,
                headers={"Authorization": f"Basic {basic.decode()}", "Accept": "application/json"},
                encode_multipart=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TokenError(f"the token server {url} cannot be reached: {error}") from error
        return _token_in(answer.status, answer.data, url, client_id, asked_at_s)

    return TokenSource(request, parse_extensions(extensions))


def _token_in(status: int, body: bytes, url: str, client_id: str, asked_at_s: float) -> Token:
    """Read a token response (RFC 6749 5.1), or its error (5.2)."""
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if status != 200:
        reason = fields.get("error_description") or fields.get("error") or f"status {status}"
        raise TokenError(f"the token server {url} gives no token to {client_id!r}: {reason}")
    value, lifetime_s = fields.get("access_token"), fields.get("expires_in", _UNKNOWN_LIFETIME_S)
    if not isinstance(value, str) or not value:
        raise TokenError(f"the token server {url} answered without an access_token")
    try:
        expires_at_s = asked_at_s + float(lifetime_s)
    except (TypeError, ValueError) as error:
        message = f"the token server {url} answered with expires_in {lifetime_s!r}, not seconds"
        raise TokenError(message) from error
    return Token(value, expires_at_s, client_id)


@cache
def _msk_source(region: str) -> TokenSource:
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # boto3 takes 0.2 s to import
    from botocore.exceptions import BotoCoreError

    def request() -> Token:
        try:
            value, expires_at_ms = MSKAuthTokenProvider.generate_auth_token(region)
        except (BotoCoreError, ValueError) as error:
            raise TokenError(
                f"no AWS credentials sign a token for MSK in {region}: {error}. They are found as "
                "the AWS CLI finds them: environment, profile, or the role of the machine"
            ) from error
        return Token(value, expires_at_ms / 1000, "msk-iam")

    return TokenSource(request, {})


def _region(settings: KafkaSettings) -> str:
    if settings.kafka_aws_region:
        return settings.kafka_aws_region
    found = _MSK_HOST.search(settings.kafka_bootstrap_servers)
    if found is None:
        raise SettingsInvalid(
            "KAFKA_AWS_REGION: must be set, as KAFKA_BOOTSTRAP_SERVERS does not name the region"
        )
    return found[1]
