"""Where a user may make the service connect to: a table of targets, and what holds for all."""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import InvalidRequest
from overnight.targets import (
    MAX_URL,
    is_public,
    literal_addresses,
    read_networks,
    read_target,
    refusal,
)

NAT64 = IPv6Network("64:ff9b::/96")
NOT_PUBLIC = "its host has an address that is not public"

# A URL with an address in it, or with one of the many ways to write such an address.
REFUSED = [
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/hook",
    "https://127.255.255.254/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://localhost/",
    "https://LocalHost/",
    "https://0.0.0.0/",
    "https://0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data/",
    "https://100.127.255.255/",
    "https://168.63.129.16/metadata/instance",
    "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "https://169.254.170.2/v2/credentials/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.192/opc/v2/instance/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.0.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::8.8.8.8]/",
    "https://[100::1]/",
    "https://[2001::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001:2::1]/",
    "https://[2001:10::1]/",
    "https://[2001:20::1]/",
    "https://[2001:db8::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[fd20:ce::254]/computeMetadata/v1/",
    "https://[fe80::1]/",
    "https://[fe80::a9fe:a9fe]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[ff0e::1]/",
]

PUBLIC = [
    "https://1.1.1.1/",
    "https://8.8.8.8:8443/hook",
    "https://9.255.255.255/",
    "https://11.0.0.0/",
    "https://100.63.255.255/",
    "https://100.128.0.0/",
    "https://126.255.255.255/",
    "https://128.0.0.1/",
    "https://169.253.255.255/",
    "https://169.255.0.0/",
    "https://172.15.255.255/",
    "https://172.32.0.0/",
    "https://192.167.255.255/",
    "https://192.169.0.0/",
    "https://198.17.255.255/",
    "https://198.20.0.0/",
    "https://223.255.255.255/",
    "https://[2606:4700:4700::1111]/",
    "https://[2a00:1450:4001::1]/",
    "https://[2001:4860:4860::8888]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::8.8.8.8]/",
]


def resolved(url: str) -> list[str]:
    """Give the addresses of a URL's host as the system's resolver does."""
    target = read_target(url)
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@pytest.mark.parametrize("url", REFUSED)
def test_a_target_within_is_refused_however_it_is_written(url: str) -> None:
    assert refusal(read_target(url), resolved(url), ()) == NOT_PUBLIC


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_target_is_in_order(url: str) -> None:
    assert refusal(read_target(url), resolved(url), ()) is None


def test_one_address_within_spoils_all_others() -> None:
    target = read_target("https://two-faced.example/")
    assert refusal(target, ["8.8.8.8", "1.1.1.1"], ()) is None
    assert refusal(target, ["8.8.8.8", "127.0.0.1"], ()) == NOT_PUBLIC
    assert refusal(target, ["127.0.0.1", "2606:4700::1"], ()) == NOT_PUBLIC


def test_an_address_with_its_interface_is_judged_without_it() -> None:
    assert refusal(read_target("https://printer.example/"), ["fe80::1%eth0"], ()) == NOT_PUBLIC


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://8.8.8.8/", "it is not https"),
        ("https://8.8.8.8:22/", "its port is neither 443 nor 1024 or more"),
        ("https://8.8.8.8:0/", "its port is neither 443 nor 1024 or more"),
        ("https://8.8.8.8:1023/", "its port is neither 443 nor 1024 or more"),
        ("https://8.8.8.8:1024/", None),
        ("https://8.8.8.8:443/", None),
    ],
)
def test_a_public_target_must_be_https_on_a_port_for_it(url: str, why: str | None) -> None:
    assert refusal(read_target(url), resolved(url), ()) == why


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:80/", "127.0.0.0/8"),
        ("http://127.1:22/", "127.0.0.1"),
        ("https://10.1.2.3/", "10.0.0.0/8"),
        ("http://[::1]:9000/", "::1"),
        ("http://[fd12::1]/", "fd00::/8"),
        ("http://[::ffff:10.1.2.3]/", "10.0.0.0/8"),
        ("http://8.8.8.8/", "0.0.0.0/0"),
    ],
)
def test_what_the_owner_opened_needs_neither_https_nor_a_public_address(
    url: str, allowed: str
) -> None:
    assert refusal(read_target(url), resolved(url), read_networks([allowed])) is None


def test_what_the_owner_opened_opens_nothing_else() -> None:
    allowed = read_networks(["10.1.0.0/16", "::1"])
    name = read_target("https://two-faced.example/")
    assert refusal(name, ["10.1.2.3", "10.2.0.1"], allowed) == NOT_PUBLIC
    assert refusal(name, ["127.0.0.1"], allowed) == NOT_PUBLIC
    assert refusal(name, ["10.1.2.3", "8.8.8.8"], allowed) is None
    plain = read_target("http://two-faced.example/")
    assert refusal(plain, ["10.1.2.3", "8.8.8.8"], allowed) == "it is not https"


@given(st.ip_addresses(v=4))
def test_an_address_that_is_public_is_so_for_the_library_too(address: IPv4Address) -> None:
    if is_public(address):
        assert address.is_global


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_so_for_the_library_too(address: IPv6Address) -> None:
    if is_public(address) and address.ipv4_mapped is None and address not in NAT64:
        assert address.is_global


@given(st.ip_addresses(v=4))
def test_a_translated_address_is_judged_by_the_one_it_reaches(address: IPv4Address) -> None:
    for text in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ip_address(text)) == is_public(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must be an absolute https URL"),
        ("/hook", "must be an absolute https URL"),
        ("ftp://h/", "must be an absolute https URL"),
        ("file:///etc/passwd", "must be an absolute https URL"),
        ("gopher://h/", "must be an absolute https URL"),
        ("https://", "must be an absolute https URL"),
        ("https:///path", "must be an absolute https URL"),
        ("https://user@h/", "no user name, password or fragment"),
        ("https://h\\@evil/", "visible ASCII without backslash"),
        ("https://h/#there", "no user name, password or fragment"),
        ("https://h/a b", "visible ASCII"),
        ("https://h/\r\nx: y", "visible ASCII"),
        ("https://h\t/", "visible ASCII"),
        ("https://bücher.example/", "visible ASCII"),
        ("https://[::1/", "host or port cannot be read"),
        ("https://h:port/", "host or port cannot be read"),
        ("https://h:65536/", "host or port cannot be read"),
        ("https://h/" + "x" * MAX_URL, "at most 2048"),
    ],
)
def test_what_is_no_target_is_refused_with_the_reason(url: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_target(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_target("https://anna:hunter2@example.com/")
    assert "hunter2" not in caught.value.message


def test_the_parts_of_a_target_are_what_a_connection_needs() -> None:
    target = read_target("https://[2606:4700::1]:8443/a/b?c=d&e")
    assert (target.host, target.port) == ("2606:4700::1", 8443)
    assert (target.netloc, target.path) == ("[2606:4700::1]:8443", "/a/b?c=d&e")
    assert read_target("https://example.com").path == "/"
    assert read_target("http://example.com").port == 80


def test_only_an_address_is_taken_literally() -> None:
    assert literal_addresses(read_target("https://10.0.0.1/")) == ["10.0.0.1"]
    assert literal_addresses(read_target("https://[::1]/")) == ["::1"]
    assert literal_addresses(read_target("https://2130706433/")) == []
    assert literal_addresses(read_target("https://example.com/")) == []
