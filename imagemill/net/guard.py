"""The guard of every request to a URL that a user gave: images to fetch, webhooks to post.

A name is looked up once, each of its addresses is checked, and the connection goes to one of them:
a name that changes its address between check and connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from imagemill.net.addresses import AddressPolicy
from imagemill.net.errors import UrlBlocked
from imagemill.net.resolver import ThreadPerLookup
from imagemill.net.url import is_literal_address, parse_url


class UrlGuard:
    """Checks URLs and addresses against one policy; safe to share between threads."""

    def __init__(self, policy: AddressPolicy) -> None:
        self.policy = policy

    def parse(self, url: str) -> URL:
        """Parse a URL and check its form, and its host if that is a literal address.

        Raises:
            UrlBlocked: `parse_url` refuses its form, or the address is private.
        """
        try:
            parsed = parse_url(url)
        except ValueError as error:
            raise UrlBlocked(str(error)) from error
        host = str(parsed.raw_host)
        if is_literal_address(host):
            self.check_addresses(host, [host])
        return parsed

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """Check the addresses that a host name resolved to.

        Raises:
            UrlBlocked: the policy forbids one of them.
        """
        if self.policy.allows_host(host):
            return
        # A private address among public ones is how a name is made to rebind, so one blocks all.
        if not all(self.policy.permits(address) for address in addresses):
            raise UrlBlocked("The URL points to a private network.")


class GuardedResolver(AbstractResolver):
    """A resolver for aiohttp that returns checked addresses only."""

    def __init__(self, guard: UrlGuard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or ThreadPerLookup()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            UrlBlocked: the policy forbids one of them.
            OSError: the name does not resolve.
        """
        results = await self._inner.resolve(host, port, family)
        self._guard.check_addresses(host, [result["host"] for result in results])
        return results

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def guarded_session(
    guard: UrlGuard,
    *,
    inner: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
    limit: int = 100,
    limit_per_host: int = 0,
    **options: Any,
) -> aiohttp.ClientSession:
    """Create an aiohttp session whose every request passes the guard, or raises UrlBlocked.

    It keeps no cookies, since a server must not recognise one user's request by another's, and
    decodes no compressed answer, since that may be too large for memory.

    Args:
        guard: checks each URL and each address before it is connected to.
        inner: looks names up; the system's resolver if None.
        tls: replaces the system's certificate authorities.
        limit: most connections open at once, 0 for no bound.
        limit_per_host: most connections open at once to one host, 0 for no bound.
        options: further options of ClientSession.
    """

    async def check(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp does not pass literal addresses to its resolver.
        guard.parse(str(request.url))
        return await handler(request)

    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard, inner),
        ssl=tls or True,
        limit=limit,
        limit_per_host=limit_per_host,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=(check,),
        **options,
    )
