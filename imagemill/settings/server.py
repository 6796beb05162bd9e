"""Settings of the API's server: TLS, the port of health and metrics, and proxies before it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from imagemill.settings.environment import EnvironmentSettings, ListenSettings, url_host


class TlsSettings(EnvironmentSettings):
    """TLS of the API; its files are read again when they change."""

    tls_certificate: Path | None = Field(
        None,
        description="file of the API's certificate and its chain (PEM); the API then speaks https, "
        "TLS 1.2 or newer; set it for the processors too, as their URLs begin with it",
    )
    tls_key: Path | None = Field(
        None, description="file of the certificate's key (PEM); IMAGEMILL_TLS_CERTIFICATE if unset"
    )
    tls_key_password: SecretStr | None = Field(
        None, description="password of an encrypted IMAGEMILL_TLS_KEY"
    )
    tls_client_ca: Path | None = Field(
        None,
        description="file of CA certificates (PEM): clients must then show a certificate that one "
        "of them signed, and speak TLS 1.3",
    )

    @model_validator(mode="after")
    def _tls_has_a_certificate(self) -> Self:
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca):
            raise ValueError(
                "IMAGEMILL_TLS_CERTIFICATE: must be set, as IMAGEMILL_TLS_KEY or "
                "IMAGEMILL_TLS_CLIENT_CA is"
            )
        return self

    @property
    def scheme(self) -> str:
        """The scheme of the API's URLs."""
        return "http" if self.tls_certificate is None else "https"


class ServerSettings(ListenSettings, TlsSettings):
    """The ports of the API, and the proxies before it."""

    ops_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="TCP port of /metrics, /healthz and /readyz, without TLS or keys; the API's "
        "own port then has none of them; on the API's own port if unset",
    )
    ops_host: str | None = Field(
        None, description="address of IMAGEMILL_OPS_PORT; IMAGEMILL_HOST if unset"
    )
    trusted_proxies: str = Field(
        "",
        description="addresses and CIDRs of reverse proxies, comma separated, whose "
        "X-Forwarded-For names the client; from others that header is ignored",
    )

    @property
    def reached_ops_host(self) -> str:
        """The host, as in a URL, at which this machine reaches the port of health."""
        return url_host(self.host if self.ops_host is None else self.ops_host)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, text: str) -> str:
        parse_networks(text)
        return text

    @model_validator(mode="after")
    def _health_can_be_asked(self) -> Self:
        if self.tls_client_ca and self.ops_port is None:
            raise ValueError(
                "IMAGEMILL_OPS_PORT: must be set, as IMAGEMILL_TLS_CLIENT_CA is: health checks "
                "have no client certificate"
            )
        return self


def parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse addresses and CIDRs with commas between them.

    Raises:
        ValueError: an entry is neither; the text names it.
    """
    networks = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            raise ValueError(f"{entry!r} is no address or CIDR, such as 10.0.0.0/8") from None
    return tuple(networks)
