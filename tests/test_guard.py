"""Which addresses count as public, whatever their spelling, and how the refusal reads."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.guard import (
    PrivateAddressError,
    is_public,
    refuse_private,
    refuse_private_name,
)

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:db8::1",
    "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "151.101.1.140", "169.253.255.255", "169.255.0.0",
    "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:80f::200e",
    "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_machines_networks_and_metadata_services_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@given(st.ip_addresses())
@settings(deadline=None, max_examples=100)
def test_what_python_holds_for_private_is_never_public(address):
    if is_public(str(address)):
        inside = getattr(address, "ipv4_mapped", None)
        if address in ip_network("64:ff9b::/96"):
            inside = IPv4Address(int(address) & 0xFFFFFFFF)
        assert (inside or address).is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
@settings(deadline=None, max_examples=100)
def test_an_ipv4_address_wrapped_in_ipv6_is_never_more_public_than_bare(address):
    bare = is_public(str(address))
    number = int(address)
    mapped = IPv6Address(0xFFFF << 32 | number)
    nat64 = IPv6Address(int(ip_address("64:ff9b::")) | number)
    six_to_four = IPv6Address(0x2002 << 112 | number << 80)
    compatible = IPv6Address(number)
    assert is_public(str(mapped)) == is_public(str(nat64)) == bare
    assert not is_public(str(six_to_four))
    assert not is_public(str(compatible))


def test_one_private_address_among_public_ones_refuses_the_host():
    refuse_private("pictures.example", ["8.8.8.8", "2606:4700:4700::1111"])
    with pytest.raises(PrivateAddressError, match=r"host pictures.example \(10\.0\.0\.1\)"):
        refuse_private("pictures.example", ["8.8.8.8", "10.0.0.1"])


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "metadata.google.internal",
        "Metadata.Google.Internal.",
        "printer.local",
        "nas.home.arpa",
    ],
)
def test_names_of_the_own_network_are_refused_before_they_are_looked_up(name):
    with pytest.raises(PrivateAddressError, match="own network"):
        refuse_private_name(name)


@pytest.mark.parametrize("name", ["localhost.example.com", "mylocal", "internal.example", "a.org"])
def test_names_that_only_look_like_those_are_not_refused(name):
    refuse_private_name(name)
