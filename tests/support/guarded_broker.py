"""A Kafka broker that asks its clients who they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from imagemill.local.broker.process import LocalBroker
from tests.support.servers import certificate


class GuardedBroker(LocalBroker, ABC):
    """A broker with further listeners, one of them over TLS, and ACLs.

    Clients of the plain port may do everything. A subclass gives `ports` of its listeners by name
    and the options of their SASL mechanisms.
    """

    protocols: dict[str, str]
    ports: dict[str, int]

    @abstractmethod
    def options(self) -> str:
        """Return the lines of server.properties that the listeners need."""

    def address(self, listener: str) -> str:
        """Return the value for KAFKA_BOOTSTRAP_SERVERS; the certificate names localhost."""
        host = "localhost" if "SSL" in self.protocols[listener] else "127.0.0.1"
        return f"{host}:{self.ports[listener]}"

    @property
    def ca(self) -> Path:
        """The certificate that it shows over TLS, signed by itself."""
        return self.folder / "cert.pem"

    def prepare(self) -> list[str]:
        command = super().prepare()
        cert, key = certificate(self.folder, "localhost")
        store = self.folder / "store.pem"
        store.write_bytes(key.read_bytes() + cert.read_bytes())
        own = [f"{name}://{self.address(name)}" for name in self.protocols]
        listeners = ",".join([f"PLAINTEXT://{self.bootstrap}", *own])
        protocols = ",".join(f"{name}:{kind}" for name, kind in self.protocols.items())
        with (self.folder / "server.properties").open("a") as config:
            config.write(
                f"""
listeners={listeners},CONTROLLER://127.0.0.1:{self._ports[1]}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={store}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
{self.options()}
"""
            )
        return command
