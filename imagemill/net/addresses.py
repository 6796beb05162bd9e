"""The policy of network addresses that users' URLs may make us connect to."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Listed here because the standard library's is_global differs between versions of Python.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata service too
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent, on an address that looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocols; a cloud's metadata service too
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocols
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
# Prefixes whose last 32 bits are an IPv4 address that a gateway sends the packet to.
_ENDS_IN_IPV4 = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True)
class AddressPolicy:
    """Allows public addresses, and the networks and hosts that a setting adds."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, allow: str) -> AddressPolicy:
        """Make the policy that adds these host names, addresses and CIDRs, comma separated.

        Raises:
            ValueError: an entry is none of these; the text names it.
        """
        networks, hosts = [], []
        for entry in filter(None, (part.strip() for part in allow.split(","))):
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                if not all(part.replace("-", "").isalnum() for part in entry.split(".")):
                    raise ValueError(f"{entry!r} is neither a host name nor a CIDR") from None
                hosts.append(_plain(entry))
        return cls(tuple(networks), frozenset(hosts))

    def allows_host(self, host: str) -> bool:
        """Return whether a host name may be connected to at any address."""
        return _plain(host) in self.hosts

    def permits(self, address: str) -> bool:
        """Return whether a literal address may be connected to; a scope (`%eth0`) is ignored."""
        parsed = ip_address(address.partition("%")[0])
        reached = embedded_addresses(parsed) or (parsed,)
        return self._allows(parsed) or all(_is_public(a) or self._allows(a) for a in reached)

    def _allows(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def embedded_addresses(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that gateways may forward packets to this IPv6 address to."""
    if isinstance(address, IPv4Address) or address.is_unspecified or address == IPv6Address(1):
        return ()
    last = int(address) & 0xFFFFFFFF
    if any(address in network for network in _ENDS_IN_IPV4):
        return (IPv4Address(last),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return (IPv4Address(last),)
    return ()


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _plain(host: str) -> str:
    return host.rstrip(".").lower()
