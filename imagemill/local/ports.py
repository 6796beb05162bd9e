"""TCP ports of this machine: which are free, and who listens on the others."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

import psutil

from imagemill.local.errors import LocalError

# Ports tried, from a wanted one on.
_MAX_PORTS_TRIED = 100
# Looks in a row that must find a port taken: between two of them a service may start again.
_LOOKS = 3


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could listen on that port now, on every address of `host`.

    Raises:
        LocalError: this machine does not have that address, or this user may not use the port.
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


def next_free(first: int, *, but: Collection[int] = ()) -> int:
    """Return the first free port from `first` on that is none of `but`.

    Raises:
        LocalError: none of a hundred is free.
    """
    last = min(first + _MAX_PORTS_TRIED - 1, 65535)
    for port in range(first, last + 1):
        if port not in but and is_free(port):
            return port
    raise LocalError(f"no TCP port between {first} and {last} is free")


def holder(port: int) -> str | None:
    """Name the process that listens on a port; None if there is none that this user may see.

    One of another imagemill system is named by the home folder of that system.
    """
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS shows all connections to the superuser only
        return None
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr.port == port and connection.pid:
            return _described(connection.pid)
    return None


def listens(pid: int, port: int) -> bool:
    """Return whether a process listens on a port; true also where the system does not say."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return any(
        each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections
    )


class PortClaim:
    """A port that one of our services is to listen on, watched while the service starts.

    A port that was free when it was checked may be taken before the service listens on it; then
    somebody else answers there, perhaps as the service would.
    """

    def __init__(self, port: int, host: str) -> None:
        self.port = port
        self._host = host
        self._taken_looks = 0

    def lost_to(self, pid: int | None) -> str | None:
        """Name who has taken the port from the service with this process id, None if nobody."""
        if is_free(self.port, self._host) or (pid is not None and listens(pid, self.port)):
            self._taken_looks = 0
            return None
        self._taken_looks += 1
        if self._taken_looks < _LOOKS:
            return None
        return holder(self.port) or "another program"


def _described(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        name = process.name()
    except psutil.NoSuchProcess:
        return None
    try:
        home = process.environ().get("IMAGEMILL_HOME")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        home = None
    of = f" of the imagemill system in {home}" if home else ""
    return f"{name} (pid {pid}){of}"
