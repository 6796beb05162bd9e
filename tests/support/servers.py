"""Ports, HTTP servers and TLS certificates of tests."""

from __future__ import annotations

import datetime
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imagemill.local.ports import is_free

_BLOCK_SIZE = 500
# Below the ports that the system gives to outgoing connections.
_BLOCK_STARTS = range(12_000, 32_000, _BLOCK_SIZE)


class PortBlock:
    """Ports that this process alone gives to its tests.

    A process claims a block by listening on the block's first port. Looking for a free port would
    not do: a broker listens some seconds after it was given its port, and until then the port
    looks free to other processes.
    """

    def __init__(self) -> None:
        """Claim a block. Raises AssertionError when other processes hold all of them."""
        self._claim, first = _claim_block()
        self._ports = itertools.cycle(range(first + 1, first + _BLOCK_SIZE))

    def close(self) -> None:
        """Leave the block to other processes."""
        self._claim.close()

    def take(self) -> int:
        """Return the free port whose last use is longest ago. Raises AssertionError without one."""
        for port in itertools.islice(self._ports, _BLOCK_SIZE):
            if is_free(port):
                return port
        raise AssertionError("no port of the block is free")


def _claim_block() -> tuple[socket.socket, int]:
    """Return the socket that claims a block, and its port."""
    start = os.getpid() % len(_BLOCK_STARTS)
    for first in (*_BLOCK_STARTS[start:], *_BLOCK_STARTS[:start]):
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
            claim.listen()
        except OSError:
            claim.close()
        else:
            return claim, first
    raise AssertionError("other processes of tests hold all blocks of ports")


class QuietHandler(BaseHTTPRequestHandler):
    """A request handler that logs nothing: the test's own output is enough."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def http_server(
    handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1"
) -> Iterator[ThreadingHTTPServer]:
    """Serve on a free port, in threads, until the block ends."""
    server = ThreadingHTTPServer((host, 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for a host name, and its key; return both files.

    A client trusts the server that shows it if its CA is the certificate itself.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
