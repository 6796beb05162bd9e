"""Name lookups for aiohttp: by the system, and checked against the guard's policy."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult

# Looks a host and port up; returns literal addresses, best first. OSError if there are none.
Lookup = Callable[[str, int], list[str]]


class ThreadPerLookup(AbstractResolver):
    """Looks names up with the system's resolver, in a daemon thread for each lookup.

    getaddrinfo takes no deadline and cannot be interrupted. In aiohttp's own ThreadedResolver a
    few lookups that hang would occupy every thread of the event loop's executor, so that no other
    name resolves, and would delay the end of the process.
    """

    def __init__(self, lookup: Lookup | None = None) -> None:
        """Use the given blocking function in place of getaddrinfo."""
        self._lookup = lookup or system_lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: the name does not resolve.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def run() -> None:
            try:
                addresses = self._lookup(host, port)
            except Exception as error:  # noqa: BLE001 raised again by `await found`
                _settle(loop, found, error)
            else:
                _settle(loop, found, addresses)

        threading.Thread(target=run, name=f"look up {host}", daemon=True).start()
        try:
            addresses = await found
        except UnicodeError as error:  # from the IDNA codec, as for a label over 63 characters
            raise OSError(f"{host!r} is no host name") from error
        if not addresses:
            raise OSError(f"{host!r} has no address")
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Do nothing: lookups that still run end with their threads."""


def system_lookup(host: str, port: int) -> list[str]:
    """Return the addresses that getaddrinfo has for a host.

    Raises:
        OSError: the name does not resolve.
        UnicodeError: the name cannot be one.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[str]], outcome: object
) -> None:
    """Hand a lookup's outcome to its event loop; without effect if nobody waits any more."""

    def settle() -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        # The event loop was closed while the system was still looking.
        return


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
