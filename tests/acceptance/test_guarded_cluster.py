"""A cluster as companies rent it: TLS, SCRAM or OAuth, ACLs that deny what they do not list."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from joserfc import jwt
from joserfc.jwk import RSAKey

from imagemill.local.broker.install import KafkaInstall
from tests.acceptance.support.system import System
from tests.support.guarded_broker import GuardedBroker
from tests.support.servers import QuietHandler, http_server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest

SERVICES = ("api", "processor", "notifier")
# Shorter than any test: a client that does not re-authenticate loses its connections in each.
REAUTHENTICATE_MS = 5000
# The table of docs/events.md, "What each service may do".
READS = {
    "api": (
        "jobs.high jobs.normal jobs.low jobs.control jobs.state templates workers.heartbeats "
        "access.keys access.used webhooks.endpoints webhooks.endpoint-status webhooks.attempts "
        "webhooks.dead-letter"
    ),
    "processor": ("jobs.high jobs.normal jobs.low jobs.retry jobs.control jobs.events jobs.state"),
    "notifier": (
        "jobs.results jobs.state webhooks.endpoints webhooks.endpoint-status webhooks.commands "
        "webhooks.attempts webhooks.dead-letter webhooks.retry webhooks.retry.1m "
        "webhooks.retry.5m webhooks.retry.30m webhooks.retry.2h webhooks.retry.10h"
    ),
}
WRITES = {
    "api": (
        "jobs.high jobs.normal jobs.low jobs.control templates access.keys access.used "
        "webhooks.endpoints webhooks.commands audit"
    ),
    "processor": (
        "jobs.high jobs.normal jobs.low jobs.retry jobs.events jobs.state jobs.results "
        "jobs.dead-letter workers.heartbeats"
    ),
    "notifier": (
        "webhooks.attempts webhooks.endpoint-status webhooks.retry webhooks.retry.1m "
        "webhooks.retry.5m webhooks.retry.30m webhooks.retry.2h webhooks.retry.10h "
        "webhooks.dead-letter jobs.dead-letter"
    ),
}
GROUPS = {
    "api": {"api-projection": AclOperation.DESCRIBE, "processor": AclOperation.DESCRIBE},
    "processor": {"processor": AclOperation.READ},
    "notifier": {
        "notifier": AclOperation.READ,
        "notifier-retry": AclOperation.READ,
        "notifier-delays": AclOperation.READ,
        "notifier-commands": AclOperation.READ,
        "notifier-watch": AclOperation.READ,
        "notifier-endpoints": AclOperation.DESCRIBE,
    },
}


class TokenServer:
    """An OIDC server: tokens for clients that know the password, and the keys to check them."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "tests", "use": "sig", "alg": "RS256"})
        self.issued = 0
        self.url = ""

    def token(self, client: str, lifetime_s: int = 60) -> str:
        """Sign a token that names the client as its subject."""
        self.issued += 1
        now = int(time.time())
        claims = {"sub": client, "iss": "tests", "iat": now, "exp": now + lifetime_s}
        # Kafka refuses a token without a scope.
        claims["scope"] = "kafka"
        return jwt.encode({"alg": "RS256", "kid": "tests"}, claims, self.key)


@pytest.fixture(scope="module")
def token_server() -> Iterator[TokenServer]:
    """A running one."""
    state = TokenServer()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self._answer(200, {"keys": [state.key.as_dict(private=False)]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            client, _, password = (
                b64decode(self.headers["Authorization"].removeprefix("Basic "))
                .decode()
                .partition(":")
            )
            if password != "opens":
                return self._answer(401, {"error": "invalid_client"})
            self._answer(200, {"access_token": state.token(client), "expires_in": 60})

        def _answer(self, status: int, body: object) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    with http_server(Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state


class RentedBroker(GuardedBroker):
    """A broker with a further port, for SCRAM and OAuth over TLS; what no ACL lists is denied."""

    protocols: ClassVar = {"SEALED": "SASL_SSL"}
    tokens: TokenServer

    def options(self) -> str:
        security = "org.apache.kafka.common.security"
        mechanism = "listener.name.sealed"
        return f"""
sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER
allow.everyone.if.no.acl.found=false
connections.max.reauth.ms={REAUTHENTICATE_MS}
{mechanism}.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;
{mechanism}.oauthbearer.sasl.jaas.config={security}.oauthbearer.OAuthBearerLoginModule required;
{mechanism}.oauthbearer.sasl.server.callback.handler.class=\
{security}.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url={self.tokens.url}/keys
"""

    def prepare(self) -> list[str]:
        program, *arguments = super().prepare()
        # Kafka fetches keys from listed addresses only.
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.tokens.url}/keys"
        return [program, allowed, *arguments]


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
    kafka_install: KafkaInstall,
    free_port: Callable[[], int],
    token_server: TokenServer,
) -> Iterator[RentedBroker]:
    """The broker, with a SCRAM user for each service."""
    folder = tmp_path_factory.mktemp("guarded")
    local = RentedBroker(folder, kafka_install, ports=(free_port(), free_port()))
    local.ports, local.tokens = {"SEALED": free_port()}, token_server
    local.start()
    try:
        client = AdminClient({"bootstrap.servers": local.bootstrap})
        sha512 = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users = [UserScramCredentialUpsertion(name, sha512, b"opens") for name in SERVICES]
        for changed in client.alter_user_scram_credentials(users).values():
            changed.result(30)
        yield local
    finally:
        local.kill()


def allow_as_documented(broker: RentedBroker, prefix: str) -> None:
    """Give each service what docs/events.md says that it needs, and nothing else."""
    client = AdminClient({"bootstrap.servers": broker.bootstrap})

    def rule(service: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
        return AclBinding(
            kind, name, ResourcePatternType.LITERAL, f"User:{service}", "*", operation,
            AclPermissionType.ALLOW,
        )  # fmt: skip

    topics = {name for names in (*READS.values(), *WRITES.values()) for name in names.split()}
    rules = [
        *(
            rule(service, ResourceType.TOPIC, prefix + name, operation)
            for table, operation in ((READS, AclOperation.READ), (WRITES, AclOperation.WRITE))
            for service, names in table.items()
            for name in names.split()
        ),
        *(
            rule(service, ResourceType.TOPIC, prefix + name, operation)
            for service in SERVICES
            for name in topics
            for operation in (AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
        ),
        *(
            rule(service, ResourceType.GROUP, prefix + name, operation)
            for service, groups in GROUPS.items()
            for name, operation in groups.items()
        ),
    ]
    for made in client.create_acls(rules).values():
        made.result(30)


class GuardedSystem(System):
    """A system whose processes reach the broker each as a user of its own."""

    access: Callable[[str], dict[str, str]]

    def launch(self, name: str, label: str | None = None, **env: str) -> None:
        service = name.removeprefix("producer_")
        super().launch(name, label, **(self.access(service) | env))


def by_scram(broker: RentedBroker, service: str) -> dict[str, str]:
    """Settings of a service with a password."""
    return {
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": service,
        "KAFKA_SASL_PASSWORD": "opens",
    }


def by_oauth(broker: RentedBroker, service: str) -> dict[str, str]:
    """Settings of a service that fetches tokens."""
    return {
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_OAUTH_TOKEN_URL": f"{broker.tokens.url}/token",
        "KAFKA_OAUTH_CLIENT_ID": service,
        "KAFKA_OAUTH_CLIENT_SECRET": "opens",
    }


@pytest.fixture(params=[by_scram, by_oauth], ids=["scram", "oauth"], scope="module")
def system(
    request: pytest.FixtureRequest,
    guarded: RentedBroker,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[GuardedSystem]:
    """API, processor and notifier on the guarded port."""
    home = tmp_path_factory.mktemp("guarded-system")
    running = GuardedSystem(
        guarded.bootstrap, home, home / "models", free_port, IMAGEMILL_URL_ALLOW="127.0.0.1"
    )
    running.access = lambda service: {
        "KAFKA_BOOTSTRAP_SERVERS": guarded.address("SEALED"),
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SSL_CA_LOCATION": str(guarded.ca),
        **request.param(guarded, service),
    }
    allow_as_documented(guarded, running.environ["IMAGEMILL_TOPIC_PREFIX"])
    try:
        yield running.start()
    finally:
        running.stop()


def member(broker: RentedBroker, system: System) -> str:
    """The id of the group's only member: another one after every rejoin."""
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    group = system.environ["IMAGEMILL_TOPIC_PREFIX"] + "processor"
    described = client.describe_consumer_groups([group])[group].result(30)
    [only] = described.members
    return only.member_id


def test_jobs_go_on_while_connections_end_for_want_of_reauthentication(
    guarded: RentedBroker, system: GuardedSystem
) -> None:
    first = system.finished(system.submitted(operation="noop"))
    assert first["status"] == "succeeded"
    before = member(guarded, system)

    started, jobs = time.monotonic(), []
    # Three times as long as a connection lives: each client loses each of its own.
    while time.monotonic() - started < 3 * REAUTHENTICATE_MS / 1000:
        jobs.append(system.submitted(operation="noop"))
        wait_until(lambda: system.job(jobs[-1]), lambda job: job["status"] == "succeeded", 30)
    assert len(jobs) > 10
    assert member(guarded, system) == before


def test_a_webhook_is_delivered_under_the_documented_acls(
    guarded: RentedBroker, system: GuardedSystem
) -> None:
    received: list[bytes] = []

    class Receiver(QuietHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with http_server(Receiver) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        job_id = system.submitted(operation="noop", webhook={"url": url})
        wait_until(lambda: received)
    assert json.loads(received[0])["data"]["job_id"] == job_id
