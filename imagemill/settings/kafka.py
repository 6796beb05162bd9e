"""Settings of the Kafka cluster and of the topics on it."""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from imagemill.settings.environment import HomeSettings, named

_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Options of librdkafka on which docs/guarantees.md rests: acks in order, commits by hand.
_RESERVED_OPTIONS = frozenset(
    {
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "partitioner",
        "message.max.bytes",
        "group.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "bootstrap.servers",
        "metadata.broker.list",
    }
)


def parse_extensions(text: str) -> dict[str, str]:
    """Read `name=value` pairs with commas between them.

    Raises:
        ValueError: a pair has no name or no value, or SASL does not allow its name.
    """
    extensions = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = pair.partition("=")
        if not separator or not name.isalpha() or not name.isascii() or not value:
            raise ValueError(
                "must be name=value pairs with commas between them, such as "
                "logicalCluster=lkc-1,identityPoolId=pool-1; names have letters only"
            )
        extensions[name] = value
    return extensions


def parse_client_config(text: str) -> dict[str, str | int | float | bool]:
    """Read a JSON object of librdkafka options.

    Raises:
        ValueError: not such an object, or an option in it is not to be changed.
    """
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError:
        options = None
    if not isinstance(options, dict) or not all(
        isinstance(value, str | int | float) for value in options.values()
    ):
        raise ValueError(
            'must be a JSON object of librdkafka options, such as {"socket.timeout.ms": 30000}'
        )
    if reserved := sorted(_RESERVED_OPTIONS & options.keys()):
        raise ValueError(
            f"must not name {', '.join(reserved)}: the guarantees rest on imagemill's own value, "
            "or a setting of its own is there for it"
        )
    return options


class KafkaSettings(HomeSettings):
    """The Kafka cluster, and the layout of the topics on it."""

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias=named("KAFKA_BOOTSTRAP_SERVERS"),
        description="brokers to connect to first, as host:port, comma separated",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        validation_alias=named("KAFKA_SECURITY_PROTOCOL"),
        description="transport to the brokers: TLS with SSL, a user name with SASL",
    )
    kafka_sasl_mechanism: Literal[
        "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"
    ] = Field(
        "PLAIN",
        validation_alias=named("KAFKA_SASL_MECHANISM"),
        description="SASL mechanism; OAUTHBEARER takes the KAFKA_OAUTH_* settings, AWS_MSK_IAM "
        "AWS credentials as the AWS CLI finds them",
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias=named("KAFKA_SASL_USERNAME"), description="SASL user name"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SASL_PASSWORD"), description="SASL password"
    )
    kafka_oauth_token_url: str | None = Field(
        None,
        validation_alias=named("KAFKA_OAUTH_TOKEN_URL"),
        description="token endpoint of the OAuth 2.0 (OIDC) server, for client credentials",
    )
    kafka_oauth_client_id: str | None = Field(
        None, validation_alias=named("KAFKA_OAUTH_CLIENT_ID"), description="OAuth client id"
    )
    kafka_oauth_client_secret: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_OAUTH_CLIENT_SECRET"), description="OAuth client secret"
    )
    kafka_oauth_scope: str | None = Field(
        None,
        validation_alias=named("KAFKA_OAUTH_SCOPE"),
        description="scopes to ask the token server for, with spaces between them",
    )
    kafka_oauth_extensions: str = Field(
        "",
        validation_alias=named("KAFKA_OAUTH_EXTENSIONS"),
        description="SASL extensions sent with the token, name=value with commas between them; "
        "Confluent Cloud wants logicalCluster and identityPoolId",
    )
    kafka_oauth_ca_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_OAUTH_CA_LOCATION"),
        description="CA certificates (PEM) of the token server; the system's when unset",
    )
    kafka_aws_region: str | None = Field(
        None,
        validation_alias=named("KAFKA_AWS_REGION"),
        description="AWS region of the MSK cluster; if unset, read from its host names",
    )
    kafka_client_id: str = Field(
        "imagemill",
        validation_alias=named("KAFKA_CLIENT_ID"),
        description="client.id of every Kafka client, for the cluster's quotas, metrics and logs",
    )
    kafka_client_rack: str | None = Field(
        None,
        validation_alias=named("KAFKA_CLIENT_RACK"),
        description="client.rack of consumers, such as the availability zone: they fetch from a "
        "replica in it where the cluster allows that",
    )
    kafka_client_config: str = Field(
        "",
        validation_alias=named("KAFKA_CLIENT_CONFIG"),
        description="JSON object of further librdkafka options for the clients of API, notifier "
        "and command line; the processor's client, aiokafka, has none of them",
    )
    kafka_ssl_ca_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CA_LOCATION"),
        description="file of CA certificates (PEM); the system's if unset",
    )
    kafka_ssl_certificate_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CERTIFICATE_LOCATION"),
        description="file of the client certificate (PEM)",
    )
    kafka_ssl_key_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_KEY_LOCATION"),
        description="file of the client key (PEM)",
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_KEY_PASSWORD"),
        description="password of the client key",
    )
    topic_prefix: str = Field("imagemill.", description="prefix of every topic and group name")
    topic_partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="partitions of the topics that workers and notifiers share; these have the "
        "same number, since a worker reads the same partition of several; the other topics have 1",
    )
    topic_replication_factor: int = Field(
        1,
        ge=-1,
        le=7,
        description="replicas of every topic; 3 on a cluster, -1 for the cluster's own default",
    )

    @field_validator("topic_replication_factor")
    @classmethod
    def _has_replicas(cls, factor: int) -> int:
        if factor == 0:
            raise ValueError("must be 1 or more, or -1 for the cluster's own default")
        return factor

    @field_validator("kafka_oauth_extensions")
    @classmethod
    def _extensions_are_pairs(cls, text: str) -> str:
        parse_extensions(text)
        return text

    @field_validator("kafka_client_config")
    @classmethod
    def _options_are_json(cls, text: str) -> str:
        parse_client_config(text)
        return text

    @model_validator(mode="after")
    def _mechanism_has_its_settings(self) -> Self:
        if not self.kafka_uses_sasl or self.kafka_sasl_mechanism != "OAUTHBEARER":
            return self
        needed = {
            "KAFKA_OAUTH_TOKEN_URL": self.kafka_oauth_token_url,
            "KAFKA_OAUTH_CLIENT_ID": self.kafka_oauth_client_id,
            "KAFKA_OAUTH_CLIENT_SECRET": self.kafka_oauth_client_secret,
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise ValueError(
                f"KAFKA_SASL_MECHANISM is OAUTHBEARER, which needs {' and '.join(missing)}"
            )
        return self

    @property
    def kafka_uses_sasl(self) -> bool:
        """True if clients authenticate by SASL."""
        return self.kafka_security_protocol.startswith("SASL")

    @property
    def on_one_machine(self) -> bool:
        """False if the cluster has an address that other machines reach."""
        servers = self.kafka_bootstrap_servers.split(",")
        return {server.strip().rpartition(":")[0] for server in servers} <= _OWN_NAMES

    def topic(self, name: str) -> str:
        """Return the full name of a topic."""
        return self.topic_prefix + name

    def group(self, name: str) -> str:
        """Return the full name of a consumer group."""
        return self.topic_prefix + name
