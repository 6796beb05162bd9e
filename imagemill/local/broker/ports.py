"""Free TCP ports, and who holds one that is not free."""

from __future__ import annotations

import errno
import socket

import psutil

from imagemill.local.errors import LocalError


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on that port now, on every address of `host`.

    Raises:
        LocalError: this machine lacks that host, or the port is not for this user.
    """
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as probe:
                # As servers do: a port whose last connections are in TIME_WAIT counts as free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise LocalError(f"nothing can listen on {host}, port {port}: {error.strerror}") from error
    return True


def next_free(first: int, *, but: frozenset[int] = frozenset()) -> int:
    """The first free port from `first` on, none of `but`.

    Raises:
        LocalError: none within a hundred.
    """
    for port in range(first, first + 100):
        if port not in but and is_free(port):
            return port
    raise LocalError(f"no TCP port between {first} and {first + 99} is free")


def holder(port: int) -> str | None:
    """A few words on the process that listens on the port, if this user may see it."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS tells only the superuser
        return None
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None
