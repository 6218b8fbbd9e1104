"""Where users may make this service connect to: public addresses, and what its owner opened.

A URL is judged by what its host resolves to, at each connection, and the connection then goes to
the address that was judged: a name that changes its answer in between changes nothing. Whatever
else a user can make the service fetch has to pass here too.

Source: the IANA special-purpose address registries (read 2026-11), and the metadata services of
the clouds, of which only Azure's has an address that looks public.
"""

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from overnight.errors import InvalidRequest

MAX_URL = 2_048
# Below are services that a request could be taken for one of their own.
MIN_PORT = 1_024
_HTTPS_PORT = 443

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata service
        "169.254.0.0/16",  # link-local; the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Outside it are loopback, link-local, private, multicast and all kinds of translated addresses.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds any IPv4 address
        "3fff::/20",  # documentation
    )
)
# Where a network has no IPv4 of its own, names of IPv4 hosts resolve to these.
_NAT64 = IPv6Network("64:ff9b::/96")

_is_plain = re.compile(r"[!-~]+").fullmatch


class Target(NamedTuple):
    """The parts of a URL that a connection needs."""

    scheme: Literal["http", "https"]
    # Without brackets.
    host: str
    port: int
    # As the `host` header names it.
    netloc: str
    # Path and query.
    path: str


def read_target(url: str) -> Target:
    """Read a URL that a user gave. Raises: InvalidRequest, which never repeats the URL."""
    if len(url) > MAX_URL:
        raise InvalidRequest(f"url: {len(url)} characters, at most {MAX_URL}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidRequest("url: its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidRequest("url: must be an absolute https URL", hint="https://host/path")
    if not _is_plain(url) or "\\" in url:
        raise InvalidRequest("url: only visible ASCII without backslash; encode what is else")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidRequest("url: must have no user name, password or fragment")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = _HTTPS_PORT if scheme == "https" else 80
    return Target(scheme, host, default if port is None else port, parts.netloc, path)


def refusal(target: Target, addresses: Sequence[str], allowed: Sequence[Network]) -> str | None:
    """Say why the target must not be connected to; None when all of its addresses are in order.

    The answer names no address: who owns the URL need not learn what a name means in here.
    """
    found = [_address(text) for text in addresses]
    if all(_is_allowed(address, allowed) for address in found):
        return None
    if not all(is_public(address) or _is_allowed(address, allowed) for address in found):
        return "its host has an address that is not public"
    if target.scheme != "https":
        return "it is not https"
    if target.port != _HTTPS_PORT and target.port < MIN_PORT:
        return f"its port is neither {_HTTPS_PORT} nor {MIN_PORT} or more"
    return None


def admit(url: str, allowed: Sequence[Network]) -> None:
    """Refuse a URL for what can be told without asking DNS. Raises: InvalidRequest."""
    target = read_target(url)
    literal = literal_addresses(target)
    why = refusal(target, literal, allowed) if literal else None
    if target.scheme == "http" and not literal and not allowed:
        why = "it is not https"
    if why is not None:
        raise InvalidRequest(
            f"url: {why}",
            hint="only https to public addresses; --webhooks-allow CIDR opens other networks",
        )


def literal_addresses(target: Target) -> list[str]:
    """Give the address that the host itself is; empty for a name, which only DNS can tell."""
    try:
        return [str(ip_address(target.host))]
    except ValueError:
        return []


def is_public(address: Address) -> bool:
    """Tell whether anyone on the internet can be behind the address, and nobody else."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        return address in _PUBLIC_V6 and not any(address in net for net in _NOT_PUBLIC_V6)
    return not any(address in network for network in _NOT_PUBLIC_V4)


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read networks in CIDR form; one address stands for itself. Raises: ValueError."""
    return tuple(ip_network(text) for text in texts)


def _address(text: str) -> Address:
    # What a resolver gives for a link-local address has its interface behind it.
    return ip_address(text.partition("%")[0])


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that a connection to this one reaches, if it is of that kind."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None


def _is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    inner = _inner(address) if isinstance(address, IPv6Address) else None
    return any(one in network for network in allowed for one in (address, inner or address))
