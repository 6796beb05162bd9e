"""Addresses: which are public, whatever they are wrapped in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.net.addresses import AddressPolicy, embedded_addresses

PUBLIC_ONLY = AddressPolicy()

PRIVATE_4 = [
    "0.0.0.0",
    "0.1.2.3",
    "10.254.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.254.254.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.10.65",
    "198.19.0.1",
    "198.51.100.1",
    "203.0.113.6",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PUBLIC_4 = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "192.0.1.1"]


def wrapped(address: str) -> list[str]:
    number = int(IPv4Address(address))
    head, tail = number >> 16, number & 0xFFFF
    flipped = number ^ 0xFFFFFFFF
    return [
        f"::ffff:{address}",
        f"::{address}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"2002:{head:x}:{tail:x}::1",
        f"2001:0:{head:x}:{tail:x}:0:0:f7f7:f7f7",
        f"2001:0:808:808:0:0:{flipped >> 16:x}:{flipped & 0xFFFF:x}",
        f"2606:4700::5efe:{address}",
        f"2606:4700::200:5efe:{address}",
    ]


@pytest.mark.parametrize("address", PRIVATE_4)
def test_private_addresses_are_refused_in_every_wrapping(address: str) -> None:
    refused = [form for form in [address, *wrapped(address)] if not PUBLIC_ONLY.permits(form)]
    assert refused == [address, *wrapped(address)]


@pytest.mark.parametrize("address", PUBLIC_4)
def test_public_addresses_pass_in_every_wrapping(address: str) -> None:
    assert [form for form in [address, *wrapped(address)] if not PUBLIC_ONLY.permits(form)] == []


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "2001:2::1",
        "2001:20::1",
        "3fff::1",
        "5f00::1",
        "64:ff9b:1::7f00:1",
    ],
)
def test_special_ipv6_addresses_are_refused(address: str) -> None:
    assert not PUBLIC_ONLY.permits(address)


@pytest.mark.parametrize("address", ["2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1"])
def test_public_ipv6_addresses_pass(address: str) -> None:
    assert PUBLIC_ONLY.permits(address)


@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_a_private_address_public(address: IPv4Address) -> None:
    if not PUBLIC_ONLY.permits(str(address)):
        assert not any(PUBLIC_ONLY.permits(form) for form in wrapped(str(address)))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_python_calls_private_is_refused_too(address: IPv4Address | IPv6Address) -> None:
    # An independent opinion: ours may only be the stricter one.
    if not address.is_global and not embedded_addresses(address):
        assert not PUBLIC_ONLY.permits(str(address))


def test_the_setting_allows_networks_addresses_and_names() -> None:
    policy = AddressPolicy.parse("10.1.0.0/16, 192.168.1.5,fd00::/8, Minio.Internal ,")

    assert policy.permits("10.1.2.3")
    assert policy.permits("::ffff:10.1.2.3")
    assert policy.permits("192.168.1.5")
    assert policy.permits("fd12::1")
    assert not policy.permits("10.2.0.1")
    assert not policy.permits("192.168.1.6")
    assert policy.allows_host("minio.internal")
    assert policy.allows_host("MINIO.internal.")
    assert not policy.allows_host("x.minio.internal")


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "http://minio", "*.example.com", "a b"])
def test_a_malformed_setting_is_told(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor a CIDR"):
        AddressPolicy.parse(f"localhost,{entry}")
