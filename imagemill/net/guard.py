"""The guard before every URL that somebody else gave us: images to fetch, webhooks to call.

The name is resolved once, every address is checked, and the connection goes to a checked address:
an answer that changes between check and connection finds nothing to change.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from imagemill.net.addresses import AddressPolicy
from schemas.errors import ErrorCode

MAX_URL_CHARACTERS = 4096
# What browsers take for an IPv4 address, such as 2130706433 or 0x7f.1: no name ends in a number,
# and whether such an address reaches a resolver, which is checked, is the HTTP client's choice.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")
# (host, port) to literal addresses, best first; OSError when the name does not resolve.
Resolve = Callable[[str, int], list[str]]


class UrlRefused(Exception):
    """A URL that will not be used. The text never tells what lies behind it.

    `transient` tells whether trying again may help.
    """

    code: ErrorCode
    transient = False


class UrlBlocked(UrlRefused):
    """We may not go there."""

    code = ErrorCode.URL_BLOCKED


class UrlUnreachable(UrlRefused):
    """We may, but got no usable answer."""

    code = ErrorCode.URL_UNREACHABLE

    def __init__(self, message: str, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UrlTooLarge(UrlRefused):
    """What it answers is larger than allowed."""

    code = ErrorCode.IMAGE_TOO_LARGE


class Target(NamedTuple):
    """A URL that passed, and the addresses that may be connected to for it."""

    url: URL
    addresses: tuple[str, ...]


class UrlGuard:
    """Checks URLs against one policy. Threads may share it."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve | None = None) -> None:
        """`resolve` replaces the system's name resolution."""
        self.policy = policy
        self._resolve = resolve or _system_resolve

    def parse(self, url: str) -> URL:
        """The parsed URL, when its form and a literal address in it are fine.

        Raises:
            UrlBlocked: not http or https, with a user name, malformed, an address in an odd
                spelling, or at a private one.
        """
        if len(url) > MAX_URL_CHARACTERS:
            raise UrlBlocked(f"The URL is longer than {MAX_URL_CHARACTERS} characters.")
        # What some parsers drop or take for a slash, others do not: then two see two hosts.
        if "\\" in url or any(character <= " " or character == "\x7f" for character in url):
            raise UrlBlocked("The URL contains a backslash, a space or a control character.")
        try:
            # Quoted URLs stay as they are: quoting anew would spoil signatures in them.
            parsed = URL(url, encoded=url.isascii())
            host, port = parsed.raw_host, parsed.port
        except ValueError as error:
            raise UrlBlocked("The URL is malformed.") from error
        if parsed.scheme not in ("http", "https"):
            raise UrlBlocked("The URL must begin with http:// or https://.")
        # Read from the text: the parser drops an empty user name.
        if "@" in re.split("[/?#]", url.partition("//")[2], maxsplit=1)[0]:
            raise UrlBlocked("The URL may not contain a user name or password.")
        if not host or not port or "%" in host:
            raise UrlBlocked("The URL is malformed.")
        if _is_literal(host):
            self.check_addresses(host, [host])
        elif _ENDS_IN_NUMBER.search(host):
            raise UrlBlocked("The URL's host is a number that is no address such as 192.0.2.1.")
        return parsed

    def check_addresses(self, host: str, addresses: list[str]) -> None:
        """Raises UrlBlocked when any of the host's addresses may not be connected to."""
        if self.policy.allows_host(host):
            return
        # One bad address among good ones is how a name is made to rebind: it spoils them all.
        if not all(self.policy.permits(address) for address in addresses):
            raise UrlBlocked("The URL points to a private network.")

    def resolve(self, url: str, timeout_s: float) -> Target:
        """The URL with its addresses, all of them checked.

        Raises:
            UrlBlocked: see there.
            UrlUnreachable: the name does not resolve, or not in time.
        """
        parsed = self.parse(url)
        host, port = str(parsed.raw_host), parsed.port or 0
        if _is_literal(host):
            return Target(parsed, (host,))
        try:
            addresses = _within(timeout_s, lambda: self._resolve(host, port))
        except TimeoutError as error:
            raise UrlUnreachable("The host name of the URL did not resolve in time.") from error
        except (OSError, UnicodeError) as error:
            raise UrlUnreachable("The host name of the URL does not resolve.") from error
        if not addresses:
            raise UrlUnreachable("The host name of the URL does not resolve.")
        self.check_addresses(host, addresses)
        return Target(parsed, tuple(addresses))


class GuardedResolver(AbstractResolver):
    """An aiohttp resolver that answers checked addresses only."""

    def __init__(self, guard: UrlGuard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses. Raises UrlBlocked, and OSError when there are none."""
        results = await self._inner.resolve(host, port, family)
        self._guard.check_addresses(host, [result["host"] for result in results])
        return results

    async def close(self) -> None:
        """Closes the resolver within."""
        await self._inner.close()


def guarded_session(
    guard: UrlGuard,
    *,
    inner: AbstractResolver | None = None,
    limit: int = 100,
    limit_per_host: int = 0,
    **options: Any,
) -> aiohttp.ClientSession:
    """An aiohttp session whose every request, redirects included, passes the guard.

    `inner` resolves names; `limit` and `limit_per_host` bound connections (0: no bound); further
    options are ClientSession's. A refused request raises UrlBlocked.
    """

    async def check(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp does not ask its resolver about literal addresses.
        guard.parse(str(request.url))
        return await handler(request)

    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard, inner), limit=limit, limit_per_host=limit_per_host
    )
    return aiohttp.ClientSession(connector=connector, middlewares=(check,), **options)


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _system_resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _within(timeout_s: float, call: Callable[[], list[str]]) -> list[str]:
    """The call's result. The system's resolver takes no time limit, so it runs in a thread."""
    answer: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put(call())
        except Exception as error:  # noqa: BLE001 raised again by the caller's thread
            answer.put(error)

    threading.Thread(target=run, name="resolve", daemon=True).start()
    try:
        result = answer.get(timeout=max(timeout_s, 0.001))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result
