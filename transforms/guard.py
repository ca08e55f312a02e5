"""Which internet addresses a manifest may make this machine talk to: public ones only."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# IANA's special-purpose registries (RFC 6890 and successors), written out because the answers of
# `ipaddress` differ between Python releases. Azure's metadata service is the one public address.
_REFUSED_V4 = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata service
        "169.254.0.0/16",  # link-local; metadata of AWS, Google, Azure and most others
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = ip_network("2000::/3")  # all that IANA has given out for global unicast
_REFUSED_V6 = tuple(
    ip_network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps any IPv4 address
        "3fff::/20",  # documentation
    )
)
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: public IPv4 hosts as IPv6-only networks see them

# RFC 6761, 6762, 8375 and ICANN's reservation of `internal`, where Google's metadata service is.
_REFUSED_NAMES = ("localhost", "local", "internal", "home.arpa")


class PrivateAddressError(ValueError):
    """A host that is not on the public internet; the message is one line that names it."""


def is_public(address: str) -> bool:
    """Tells whether an IP address belongs to a host on the public internet.

    IPv4 addresses wrapped in IPv6 (mapped, NAT64) are judged by the address inside; other
    wrappings (6to4, Teredo, compatible) are never public.

    Raises:
      ValueError: not an IP address.
    """
    parsed = _unwrapped(ip_address(address))
    if isinstance(parsed, IPv4Address):
        return not any(parsed in block for block in _REFUSED_V4)
    return parsed in _GLOBAL_V6 and not any(parsed in block for block in _REFUSED_V6)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def refuse_private_name(host: str) -> None:
    """Refuses names that mean this machine or its own network, whatever they resolve to.

    Raises:
      PrivateAddressError: the name is `localhost` or ends in a domain reserved for private use.
    """
    name = host.rstrip(".").lower()
    if any(name == refused or name.endswith(f".{refused}") for refused in _REFUSED_NAMES):
        raise PrivateAddressError(f"host {host} is a name of this machine or its own network")


def refuse_private(host: str, addresses: Iterable[str]) -> None:
    """Refuses a host when any of its addresses is not public.

    Args:
      host: as the URL names it, for the message.
      addresses: everything the host resolved to; only these may be connected to afterwards.

    Raises:
      PrivateAddressError: one is private, loopback, link-local, multicast, reserved or a cloud's
        metadata service.
    """
    for address in addresses:
        if not is_public(address):
            named = host if host == address else f"{host} ({address})"
            raise PrivateAddressError(f"host {named} is not on the public internet")
