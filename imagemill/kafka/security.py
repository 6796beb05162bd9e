"""Authentication of every Kafka client, from one place: librdkafka's and aiokafka's options.

Both libraries get the same tokens, from one source a process: so a token is fetched once for all
connections, and a mechanism that works for the API works for the processor.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from imagemill.kafka.tokens import TokenSource, token_source
from imagemill.settings import KafkaSettings


def librdkafka_security(settings: KafkaSettings) -> dict[str, Any]:
    """Return the security options of a confluent-kafka client.

    Raises:
        SettingsInvalid: the settings of the mechanism do not work.
    """
    options: dict[str, Any] = {"security.protocol": settings.kafka_security_protocol}
    if settings.kafka_uses_sasl:
        source = token_source(settings)
        if source is None:
            username, password = user_and_password(settings)
            options |= {
                "sasl.mechanism": settings.kafka_sasl_mechanism,
                "sasl.username": username,
                "sasl.password": password,
            }
        else:
            options |= {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": _callback(source)}
    tls = {
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "ssl.key.password": _revealed(settings.kafka_ssl_key_password),
    }
    return options | {name: str(value) for name, value in tls.items() if value is not None}


def aiokafka_security(settings: KafkaSettings) -> dict[str, Any]:
    """Return the same for an aiokafka client.

    Raises:
        SettingsInvalid: the settings of the mechanism do not work.
        OSError, ssl.SSLError: a certificate or key cannot be read.
    """
    options: dict[str, Any] = {
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.kafka_uses_sasl:
        provider = token_provider(settings)
        if provider is None:
            username, password = user_and_password(settings)
            options |= {
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": username,
                "sasl_plain_password": password,
            }
        else:
            options |= {
                "sasl_mechanism": "OAUTHBEARER",
                "sasl_oauth_token_provider": provider,
            }
    return options


def user_and_password(settings: KafkaSettings) -> tuple[str, str]:
    """Return the SASL user and password, empty where unset."""
    return settings.kafka_sasl_username or "", _revealed(settings.kafka_sasl_password) or ""


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the settings; None if the cluster is reached without TLS.

    Raises:
        OSError, ssl.SSLError: a certificate or key cannot be read.
    """
    if "SSL" not in settings.kafka_security_protocol.split("_"):
        return None
    ca = settings.kafka_ssl_ca_location
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    if settings.kafka_ssl_certificate_location:
        context.load_cert_chain(
            settings.kafka_ssl_certificate_location,
            settings.kafka_ssl_key_location,
            _revealed(settings.kafka_ssl_key_password),
        )
    return context


def token_provider(settings: KafkaSettings) -> AbstractTokenProvider | None:
    """Return aiokafka's provider of the mechanism's tokens; None where it needs a password."""
    source = token_source(settings)
    return None if source is None else _TokenProvider(source)


class _TokenProvider(AbstractTokenProvider):
    """Tokens for aiokafka, which asks for one at each new connection."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        # In a thread: a token may come from a server, and the loop has items to serve.
        return (await asyncio.to_thread(self._source.token)).value

    def extensions(self) -> dict[str, str]:
        return dict(self._source.extensions)


def _callback(source: TokenSource) -> Any:
    def oauth_cb(_config: str) -> tuple[str, float, str, dict[str, str]]:
        token = source.token()
        return token.value, token.expires_at_s, token.principal, dict(source.extensions)

    return oauth_cb


def _revealed(secret: Any) -> str | None:
    return secret.get_secret_value() if secret else None
