"""Waiting until the services say that they are ready."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

from imagemill.local.errors import LocalError
from imagemill.local.stack.system import LocalSystem, tail

# So many deaths while it is waited for: waiting longer helps nobody.
_HOPELESS = 10


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.1) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def answers_ready(host: str, port: int) -> bool:
    """Whether GET /readyz of the service there is answered 200; `host` as in a URL."""
    connection = http.client.HTTPConnection(f"{host}:{port}", timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_ready(system: LocalSystem, timeout_s: float = 90.0) -> None:
    """Wait for every service that has a port.

    Raises:
        LocalError: one did not become ready; the text names it and has the end of its log.
    """
    host = system.api.reached_host
    deadline = time.monotonic() + timeout_s
    for service in system.services():
        if service.name == "broker" or service.port is None:
            continue
        port, name = service.port, service.name
        hopeless = _restarts(system, name) + _HOPELESS

        def over(port: int = port, name: str = name, hopeless: int = hopeless) -> bool:
            return answers_ready(host, port) or _restarts(system, name) >= hopeless

        wait_until(over, deadline - time.monotonic())
        if not answers_ready(host, port):
            raise LocalError(_unready(system, name, port))


def _restarts(system: LocalSystem, name: str) -> int:
    return sum(each.restarts for each in system.services() if each.name == name)


def _unready(system: LocalSystem, name: str, port: int) -> str:
    restarts = _restarts(system, name)
    died = f" and has died {restarts} times" if restarts else ""
    tails = "\n".join(tail(log) for log in sorted(system.layout.logs.glob(f"{name}*.log")))
    return (
        f"the {name} does not become ready on port {port}{died}. Everything still runs: "
        f"`imagemill status` shows it, `imagemill down` stops it.\n{tails}"
    )
