"""Settings of the Kafka cluster and of the topics on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FilePath, SecretStr

from imagemill.settings.environment import HomeSettings, named

_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class KafkaSettings(HomeSettings):
    """How to reach the Kafka cluster, and how our topics are laid out on it."""

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias=named("KAFKA_BOOTSTRAP_SERVERS"),
        description="host:port list of the cluster",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias=named("KAFKA_SECURITY_PROTOCOL"), description="transport"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", validation_alias=named("KAFKA_SASL_MECHANISM"), description="SASL mechanism"
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias=named("KAFKA_SASL_USERNAME"), description="SASL user"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SASL_PASSWORD"), description="SASL password"
    )
    kafka_ssl_ca_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CA_LOCATION"),
        description="CA certificates (PEM); the system's when unset",
    )
    kafka_ssl_certificate_location: FilePath | None = Field(
        None,
        validation_alias=named("KAFKA_SSL_CERTIFICATE_LOCATION"),
        description="client certificate (PEM)",
    )
    kafka_ssl_key_location: FilePath | None = Field(
        None, validation_alias=named("KAFKA_SSL_KEY_LOCATION"), description="client key (PEM)"
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SSL_KEY_PASSWORD"), description="client key password"
    )
    topic_prefix: str = Field("imagemill.", description="prefix of every topic and group name")
    topic_partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="partitions of every topic (tables need equal counts)",
    )
    topic_replication_factor: int = Field(
        1, ge=1, le=7, description="replicas of every topic; 3 on a cluster"
    )

    @property
    def on_one_machine(self) -> bool:
        """As HomeSettings: not where the cluster is reached by a name that others have as well."""
        servers = self.kafka_bootstrap_servers.split(",")
        return {server.strip().rpartition(":")[0] for server in servers} <= _OWN_NAMES

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.topic_prefix + name

    def group(self, name: str) -> str:
        """The full name of a consumer group."""
        return self.topic_prefix + name
