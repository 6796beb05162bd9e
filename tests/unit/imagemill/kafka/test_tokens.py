"""Tokens are fetched once, replaced in time, and a refusal says why without the secret."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from imagemill.kafka.security import aiokafka_security, librdkafka_security
from imagemill.kafka.tokens import Token, TokenError, TokenSource, token_source
from imagemill.settings import KafkaSettings
from imagemill.settings.environment import SettingsInvalid
from tests.support.servers import QuietHandler, http_server


class TokenServer:
    """The answer to give, and the requests that came: headers and form fields."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {"access_token": "one", "expires_in": 3600, "token_type": "Bearer"}
        self.requests: list[tuple[dict[str, str], dict[str, list[str]]]] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """A token endpoint."""
    state = TokenServer()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.requests.append((dict(self.headers), parse_qs(body)))
            text = state.answer if isinstance(state.answer, str) else json.dumps(state.answer)
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(text.encode())

    with http_server(Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/token"
        yield state


def oauth(url: str, **fields: Any) -> KafkaSettings:
    """Settings of a cluster that wants tokens."""
    return KafkaSettings(
        _env_file=None,
        **{
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_oauth_token_url": url,
            "kafka_oauth_client_id": "mill:1",
            "kafka_oauth_client_secret": "s%cret",
            **fields,
        },
    )


def test_client_credentials_are_sent_as_rfc_6749_has_them(server: TokenServer) -> None:
    source = token_source(oauth(server.url, kafka_oauth_scope="kafka read"))
    assert source is not None and source.token().value == "one"
    [(headers, form)] = server.requests
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}
    basic = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == "mill%3A1:s%25cret"


async def test_all_clients_of_a_process_share_one_token(server: TokenServer) -> None:
    settings = oauth(server.url, kafka_oauth_extensions="logicalCluster=lkc-1")
    value, _, principal, extensions = librdkafka_security(settings)["oauth_cb"]("")
    provider = aiokafka_security(settings)["sasl_oauth_token_provider"]
    assert (value, principal, extensions) == ("one", "mill:1", {"logicalCluster": "lkc-1"})
    assert await provider.token() == "one"
    assert provider.extensions() == extensions
    assert len(server.requests) == 1


def test_a_token_is_replaced_when_a_fifth_of_its_life_is_left() -> None:
    now, made = [1000.0], []

    def request() -> Token:
        made.append(now[0])
        return Token(f"token {len(made)}", now[0] + 100, "me")

    source = TokenSource(request, {}, clock=lambda: now[0])
    seen = []
    for now[0] in (1000, 1079, 1080, 1159, 1161):
        seen.append(source.token().value)
    assert seen == ["token 1", "token 1", "token 2", "token 2", "token 3"]


def test_a_failed_refresh_is_tried_again_at_the_next_use() -> None:
    answers: list[Token | TokenError] = [TokenError("away"), Token("one", 2e9, "me")]

    def request() -> Token:
        answer = answers.pop(0)
        if isinstance(answer, TokenError):
            raise answer
        return answer

    source = TokenSource(request, {}, clock=lambda: 1000.0)
    with pytest.raises(TokenError):
        source.token()
    assert source.token().value == "one"


@pytest.mark.parametrize(
    ("status", "answer", "sentence"),
    [
        (401, {"error": "invalid_client"}, "gives no token to 'mill:1': invalid_client"),
        (400, {"error": "x", "error_description": "scope unknown"}, "mill:1': scope unknown"),
        (502, "<html>bad gateway</html>", "gives no token to 'mill:1': status 502"),
        (200, {"token_type": "Bearer"}, "without an access_token"),
        (200, ["access_token"], "without an access_token"),
        (200, {"access_token": "one", "expires_in": "soon"}, "expires_in 'soon', not seconds"),
    ],
)
def test_a_refusal_says_why_and_not_the_secret(
    server: TokenServer, status: int, answer: Any, sentence: str
) -> None:
    server.status, server.answer = status, answer
    source = token_source(oauth(server.url))
    assert source is not None
    with pytest.raises(TokenError) as refusal:
        source.token()
    assert sentence in str(refusal.value)
    assert "s%cret" not in str(refusal.value)


def test_a_token_server_that_is_away_is_named(server: TokenServer) -> None:
    source = token_source(oauth("http://127.0.0.1:1/token"))
    assert source is not None
    with pytest.raises(TokenError, match=r"http://127\.0\.0\.1:1/token cannot be reached"):
        source.token()


def test_msk_tokens_are_signed_for_the_region_of_the_host_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    settings = KafkaSettings(
        _env_file=None,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="AWS_MSK_IAM",
        kafka_bootstrap_servers="b-1.m.x1.c2.kafka.eu-west-3.amazonaws.com:9098,b-2:9098",
    )
    options = librdkafka_security(settings)
    assert options["sasl.mechanism"] == "OAUTHBEARER"
    value, expires_at_s, _, _ = options["oauth_cb"]("")
    signed = base64.urlsafe_b64decode(value + "==").decode()
    assert signed.startswith("https://kafka.eu-west-3.amazonaws.com/?Action=kafka-cluster")
    assert expires_at_s > 1.7e9


def test_msk_without_a_region_says_which_setting_is_missing() -> None:
    settings = KafkaSettings(
        _env_file=None,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="AWS_MSK_IAM",
        kafka_bootstrap_servers="kafka.internal:9098",
    )
    with pytest.raises(SettingsInvalid, match="KAFKA_AWS_REGION: must be set"):
        librdkafka_security(settings)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"},
            "needs KAFKA_OAUTH_TOKEN_URL and KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET",
        ),
        (
            {"kafka_oauth_extensions": "logicalCluster"},
            "KAFKA_OAUTH_EXTENSIONS: must be name=value",
        ),
        (
            {"kafka_client_config": "socket.timeout.ms=1"},
            "KAFKA_CLIENT_CONFIG: must be a JSON object",
        ),
        ({"kafka_client_config": '{"acks": 1}'}, "KAFKA_CLIENT_CONFIG: must not name acks"),
        ({"topic_replication_factor": 0}, "IMAGEMILL_TOPIC_REPLICATION_FACTOR: must be 1 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_remedy(
    fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        KafkaSettings(_env_file=None, **fields)
    assert sentence in str(refused.value)
