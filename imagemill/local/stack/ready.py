"""Waits until the services of a local system are ready."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable

from imagemill.local.errors import LocalError
from imagemill.local.ports import PortClaim, listens
from imagemill.local.stack.programs import API, BROKER
from imagemill.local.stack.system import MAX_ENDS, LocalSystem, PortTaken, Service, tail
from imagemill.settings import ApiSettings

_GOES_ON = "Everything still runs: `imagemill status` shows it, `imagemill down` stops it."


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.1) -> bool:
    """Wait until a condition holds; return False if it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def answers_ready(host: str, port: int, *, tls: bool = False) -> bool:
    """Return whether GET /readyz there is answered 200; `host` as in a URL."""
    connection = http.client.HTTPConnection(f"{host}:{port}", timeout=5)
    if tls:
        connection = http.client.HTTPSConnection(
            f"{host}:{port}", timeout=5, context=any_certificate()
        )
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def any_certificate() -> ssl.SSLContext:
    """Make a TLS context for our own API on this machine.

    It checks no certificate: that is for the name by which clients reach the API, not for this
    address. The process that has the port is known by its id.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def api_is_ready(api: ApiSettings) -> bool:
    """Return whether the API of these settings says that it is ready."""
    if api.ops_port is not None:
        return answers_ready(api.reached_ops_host, api.ops_port)
    return answers_ready(api.reached_host, api.port, tls=api.scheme == "https")


def wait_until_ready(system: LocalSystem, timeout_s: float = 90.0) -> None:
    """Wait until each service that has a port answers there that it is ready.

    Raises:
        PortTaken: another program listens on the port of one of them.
        LocalError: one did not become ready; the text names it and has the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    for service in system.services():
        if service.name != BROKER and service.port is not None:
            _wait_for(system, service, deadline)


def _wait_for(system: LocalSystem, first: Service, deadline: float) -> None:
    port = first.port or 0
    claim = PortClaim(port, system.api.host)
    while True:
        service = next((each for each in system.services() if each.port == port), None)
        if service is None:
            raise LocalError(f"the {first.name} was stopped while it started")
        # Another program may answer on its port, as the API of another imagemill would.
        pid = service.pid
        if pid is not None and _says_ready(system, service) and listens(pid, port):
            return
        if by := claim.lost_to(pid):
            raise PortTaken(f"{system.port_taken(port, by)}\n{_GOES_ON}")
        hopeless = service.restarts >= first.restarts + MAX_ENDS
        if hopeless or time.monotonic() > deadline:
            raise LocalError(_unready(system, service))
        time.sleep(0.1)


def _says_ready(system: LocalSystem, service: Service) -> bool:
    if service.name == API:
        return api_is_ready(system.api)
    return answers_ready(system.api.reached_host, service.port or 0)


def _unready(system: LocalSystem, service: Service) -> str:
    ended = f" and has ended {service.restarts} times" if service.restarts else ""
    logs = sorted(system.layout.logs.glob(f"{service.name}*.log"))
    return "\n".join(
        [
            f"the {service.name} does not become ready on port {service.port}{ended}. {_GOES_ON}",
            *map(tail, logs),
        ]
    )
