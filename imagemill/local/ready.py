"""Waiting until the services say that they are ready."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Collection

from imagemill.local.errors import LocalError
from imagemill.local.system import LocalSystem, tail


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.1) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def answers_ready(port: int) -> bool:
    """Whether GET /readyz of the local service on that port is answered 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
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
    deadline = time.monotonic() + timeout_s
    for service in system.services():
        if service.name == "broker" or service.port is None:
            continue
        port = service.port
        if not wait_until(lambda port=port: answers_ready(port), deadline - time.monotonic()):
            raise LocalError(_unready(system, service.name, port, timeout_s))


def _unready(system: LocalSystem, name: str, port: int, timeout_s: float) -> str:
    restarts = sum(each.restarts for each in system.services() if each.name == name)
    died = f" and was restarted {restarts} times" if restarts else ""
    logs: Collection[str] = sorted(str(p) for p in system.layout.logs.glob(f"{name}*.log"))
    tails = "\n".join(tail(system.layout.logs / log) for log in logs)
    return (
        f"the {name} was not ready on port {port} within {timeout_s:.0f} s{died}. "
        f"Everything still runs: `imagemill status` shows it, `imagemill down` stops it.\n{tails}"
    )
