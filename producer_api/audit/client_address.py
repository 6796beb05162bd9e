"""The address of a request's client, behind reverse proxies that are trusted."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import hdrs, web

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class ClientAddresses:
    """Finds the client of each request.

    Anybody can send X-Forwarded-For, and each proxy adds the address that it was reached from at
    the end. So the header is read from its end, as long as the addresses are those of trusted
    proxies: the first other one is the client.
    """

    def __init__(self, trusted: Iterable[Network]) -> None:
        """`trusted` are the networks of the proxies."""
        self._trusted = tuple(trusted)

    def of(self, request: web.Request) -> str | None:
        """Return the client's address; None if the connection has none, such as a Unix socket."""
        nearest = _parsed(request.remote or "")
        if nearest is None:
            return request.remote
        forwarded = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))
        for hop in reversed(forwarded.split(",")):
            if not self._trusts(nearest):
                break
            named = _parsed(hop)
            if named is None:
                break
            nearest = named
        return str(nearest)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parsed(text: str) -> Address | None:
    """Parse an address that may have a port or brackets: `192.0.2.1:80`, `[2001:db8::1]:80`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
