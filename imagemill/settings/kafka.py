"""Settings of the Kafka cluster and of the topics on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FilePath, SecretStr

from imagemill.settings.environment import HomeSettings, named

_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


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
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN",
        validation_alias=named("KAFKA_SASL_MECHANISM"),
        description="SASL mechanism that checks the user",
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias=named("KAFKA_SASL_USERNAME"), description="SASL user name"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias=named("KAFKA_SASL_PASSWORD"), description="SASL password"
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
        description="partitions of every topic; all have the same number, since a worker reads the "
        "same partition of several topics",
    )
    topic_replication_factor: int = Field(
        1, ge=1, le=7, description="replicas of every topic; set 3 on a cluster"
    )

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
