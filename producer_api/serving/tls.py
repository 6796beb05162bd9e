"""TLS of the API's port: from files, read again when they change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.server import TlsSettings

log = logging.getLogger(__name__)

# Seconds between two looks at the files: each is one stat of three files.
_LOOK_EVERY_S = 1.0
_CERTIFICATE = "IMAGEMILL_TLS_CERTIFICATE"
_KEY = "IMAGEMILL_TLS_KEY"
_CLIENT_CA = "IMAGEMILL_TLS_CLIENT_CA"

# Time of the last change, inode and size of each file: Kubernetes replaces a link, certbot a file.
_State = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class _Loaded:
    """Context and end of the certificate, as read from the files at one time."""

    context: ssl.SSLContext
    expires_at: datetime


class ServerTls:
    """The TLS context of a port; a new certificate serves the connections that come after it.

    Connections that exist go on with the certificate that they began with.
    """

    def __init__(self, settings: TlsSettings) -> None:
        """Read the files.

        Raises:
            SettingsInvalid: one cannot be used; the text names its setting and says what to do.
        """
        self._settings = settings
        self._state = self._look()
        self._current = _load(settings)
        self.context = self._current.context
        # A context cannot be emptied of a certificate that proves unusable, so a new one is made,
        # and each handshake takes the newest. Called also for clients that send no server name.
        self.context.sni_callback = self._choose
        _warn_if_expired(self._current)

    async def follow(self) -> None:
        """Read the files again whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the files if they have changed; while they cannot be used the old ones stay."""
        state = self._look()
        if state == self._state:
            return
        # Also if they cannot be used: the next change of one of them is the next attempt, as when
        # the key is written some time after the certificate.
        self._state = state
        try:
            self._current = _load(self._settings)
        except SettingsInvalid as error:
            log.error("the TLS files have changed, and the former ones stay in use: %s", error)
            return
        log.info(
            "the TLS certificate was read again; it is valid until %s", self._current.expires_at
        )
        _warn_if_expired(self._current)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge of the certificate's end, for Prometheus."""
        yield GaugeMetricFamily(
            "imagemill_tls_certificate_expires_seconds",
            "Unix time at which the certificate in use expires",
            value=self._current.expires_at.timestamp(),
        )

    def _choose(
        self, connection: ssl.SSLObject, _server_name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._current.context

    def _look(self) -> _State:
        return tuple(map(_state_of, _files(self._settings)))


def _files(settings: TlsSettings) -> tuple[Path, ...]:
    files = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    return tuple(path for path in files if path is not None)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _load(settings: TlsSettings) -> _Loaded:
    """Make a context of the files.

    Raises:
        SettingsInvalid: one cannot be used.
    """
    certificate = settings.tls_certificate or Path()
    key = settings.tls_key or certificate
    password = settings.tls_key_password.get_secret_value() if settings.tls_key_password else None
    first = _certificates(_CERTIFICATE, certificate)[0]
    if _private_key(key, password).public_key() != first.public_key():
        raise SettingsInvalid(
            f"{_KEY}: the key in {key} is not that of the first certificate in {certificate}; the "
            "server's own certificate comes first there, then those that signed it"
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Never None: OpenSSL would then ask for the password of an encrypted key at the terminal.
        context.load_cert_chain(certificate, key, password or "")
        if settings.tls_client_ca is not None:
            _ask_for_certificates(context, settings.tls_client_ca)
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsInvalid(
            f"{_CERTIFICATE}: OpenSSL does not take the files: {reason}"
        ) from error
    return _Loaded(context, first.not_valid_after_utc)


def _ask_for_certificates(context: ssl.SSLContext, ca: Path) -> None:
    """Require that clients show a certificate of these authorities."""
    _certificates(_CLIENT_CA, ca)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session shows no certificate again, so it would outlive the removal of its CA from
    # the file. TLS 1.2 has no switch for that in Python.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0


def _certificates(setting: str, path: Path) -> list[x509.Certificate]:
    pem = _read(setting, path)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SettingsInvalid(
            f"{setting}: {path} holds no certificate that can be read (PEM, -----BEGIN "
            "CERTIFICATE-----)"
        ) from error


def _private_key(path: Path, password: str | None) -> PrivateKeyTypes:
    pem = _read(_KEY, path)
    try:
        return serialization.load_pem_private_key(pem, password.encode() if password else None)
    except TypeError as error:
        hint = "is not encrypted: unset" if password else "is encrypted: set"
        raise SettingsInvalid(
            f"{_KEY}: the key in {path} {hint} IMAGEMILL_TLS_KEY_PASSWORD"
        ) from error
    except ValueError as error:
        wrong = ", or IMAGEMILL_TLS_KEY_PASSWORD is not its password" if password else ""
        raise SettingsInvalid(
            f"{_KEY}: {path} holds no private key that can be read (PEM){wrong}"
        ) from error


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsInvalid(f"{setting}: {path} cannot be read: {error.strerror}") from error


def _warn_if_expired(loaded: _Loaded) -> None:
    if loaded.expires_at < datetime.now(UTC):
        log.warning(
            "the TLS certificate expired on %s; clients will refuse it until a new one is in its "
            "file",
            loaded.expires_at,
        )
