"""The check of webhook URLs and addresses, for values that hypothesis generates."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.errors import UrlRefused
from shared.webhooks.urls import check_addresses, parse_webhook_url
from tests.hostile import HOSTILE_URLS, SPECIAL_BLOCKS

URL = parse_webhook_url("https://receiver.example/")
BLOCKS = [ip_network(block) for block in SPECIAL_BLOCKS]


def draw_from(block: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Return a strategy for the addresses of `block`."""
    kind = type(block.network_address)
    first, last = int(block.network_address), int(block.broadcast_address)
    return st.integers(first, last).map(kind)


def embed(prefix: str, *, shift: int = 0, mask: int = 0) -> st.SearchStrategy[IPv6Address]:
    """Return a strategy for IPv6 addresses of `prefix` that contain an IPv4 address `shift` bits from the right."""
    network = int(IPv6Address(prefix))
    return st.ip_addresses(v=4).map(lambda address: IPv6Address(network | (int(address) ^ mask) << shift))


def make_isatap() -> st.SearchStrategy[IPv6Address]:
    """Return a strategy for ISATAP interface identifiers (RFC 5214) under any public prefix."""
    prefixes = st.integers(0x2003_0000_0000_0000, 0x3FFE_FFFF_FFFF_FFFF)
    kinds = st.sampled_from([0x0000_5EFE, 0x0200_5EFE])
    return st.builds(
        lambda prefix, kind, address: IPv6Address(prefix << 64 | kind << 32 | int(address)),
        prefixes, kinds, st.ip_addresses(v=4),
    )  # fmt: skip


SPECIAL = st.sampled_from(BLOCKS).flatmap(draw_from)
SPECIAL_IPV4 = st.sampled_from([block for block in BLOCKS if block.version == 4]).flatmap(draw_from)
EMBEDDED = st.one_of(
    embed("::"),  # IPv4-compatible
    embed("::ffff:0:0"),  # mapped
    embed("::ffff:0:0:0"),  # translated
    embed("64:ff9b::"),  # NAT64
    embed("64:ff9b:1::"),  # NAT64, local
    embed("64:ff9b:1:fffe::", shift=16),
    embed("2002::", shift=80),  # 6to4
    embed("2001::", mask=0xFFFF_FFFF),  # Teredo: the client's address, inverted
    embed("2001::", shift=64),  # Teredo: the server's address
    make_isatap(),
)

TOKENS = [
    "https", "http", "://", ":", "/", "//", "@", "\\", "#", "?", "[", "]", ".", "-", "%", "%2e", "443", "0443", "0x7f",
    "127.0.0.1", "1.1.1.1", "::1", "localhost", "receiver.example", "xn--", " ", "\t", "\n", "\x00",
]  # fmt: skip
PIECES = st.sampled_from(TOKENS) | st.text(max_size=3)
WELL_FORMED = st.sampled_from(["https://receiver.example:443/x?y=z", "https://[2606:4700::1111]", "https://1.1.1.1?x"])
# Valid URLs with an inserted piece, and random sequences of pieces that often look like URLs.
URL_TEXTS = (
    st.builds(lambda url, at, piece: url[:at] + piece + url[at:], WELL_FORMED, st.integers(0, 40), PIECES)
    | st.lists(PIECES, max_size=12).map("".join)
)  # fmt: skip


def check_refused(address: IPv4Address | IPv6Address, *, allow_loopback: bool = False) -> None:
    """Check that the address is refused, both as an address of a name and in a URL."""
    with pytest.raises(UrlRefused):
        check_addresses(URL, [str(address)], allow_loopback=allow_loopback)
    host = f"[{address}]" if address.version == 6 else str(address)
    with pytest.raises(UrlRefused):
        parse_webhook_url(f"https://{host}/", allow_loopback=allow_loopback)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_first_and_last_address_of_a_special_block_are_refused(block: IPv4Network | IPv6Network) -> None:
    check_refused(block.network_address)
    check_refused(block.broadcast_address)


@given(SPECIAL)
@settings(max_examples=1_000)
def test_every_address_of_a_special_block_is_refused(address: IPv4Address | IPv6Address) -> None:
    check_refused(address)


@given(SPECIAL_IPV4)
@settings(max_examples=300)
def test_every_embedded_form_of_a_special_address_is_refused(address: IPv4Address) -> None:
    value = int(address)
    for text in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2606:4700::5efe:0:0"):
        check_refused(IPv6Address(int(IPv6Address(text)) | value))
    check_refused(IPv6Address(0x2002 << 112 | value << 80))
    check_refused(IPv6Address(0x2001 << 112 | value ^ 0xFFFF_FFFF))


@given(EMBEDDED)
def test_every_address_that_embeds_an_ipv4_address_is_refused(address: IPv6Address) -> None:
    assume(address != IPv6Address("::1"))
    check_refused(address)
    check_refused(address, allow_loopback=True)


@given(st.ip_addresses(v=6))
def test_ipv6_address_outside_global_unicast_is_refused(address: IPv6Address) -> None:
    assume(address not in IPv6Network("2000::/3"))
    check_refused(address)


@given(
    st.integers(0x0100_0000, 0xDFFF_FFFF).map(IPv4Address) | st.integers(0x2003 << 112, 0x3FFE << 112).map(IPv6Address)
)
def test_every_other_address_is_accepted(address: IPv4Address | IPv6Address) -> None:
    assume(not any(address in block for block in BLOCKS if block.version == address.version))
    assume(address.version == 4 or int(address) >> 32 & 0xFDFF_FFFF != 0x5EFE)
    assert check_addresses(URL, [str(address)]) == [str(address)]


@given(st.ip_addresses(v=4), st.sampled_from(["", "."]))
def test_non_standard_spelling_of_an_ipv4_address_is_refused(address: IPv4Address, dot: str) -> None:
    """Even of a public address: such a spelling has no honest use."""
    value, (a, b, c, d) = int(address), address.packed
    spellings = [
        f"{value}", f"{value:#x}", f"0{value:o}", f"{a}.{value & 0xFF_FFFF}", f"{a}.{b}.{value & 0xFFFF}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a}.{b}.{c}.{d:#x}", f"0{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}.0", f"{address}.",
    ]  # fmt: skip
    for spelling in spellings:
        with pytest.raises(UrlRefused):
            parse_webhook_url(f"https://{spelling}{dot}/", allow_loopback=True)


@given(URL_TEXTS)
@settings(max_examples=500)
@example("https://receiver.example:443/?x=1")
@example("https://[2606:4700::1]")
def test_accepted_url_is_parsed_the_same_by_another_parser(text: str) -> None:
    try:
        parsed = parse_webhook_url(text)
    except UrlRefused:
        return
    other = urlsplit(text)
    assert (other.scheme, other.port or 443, other.username, other.fragment) == ("https", 443, None, "")
    assert parsed.is_address or other.hostname == parsed.host
    assert parse_webhook_url(f"https://{parsed.authority}{parsed.path}") == parsed


@given(st.sampled_from(HOSTILE_URLS), st.integers(1, 65_535))
def test_hostile_url_is_refused_with_every_port(url: str, port: int) -> None:
    for allow_loopback in (False, True):
        with pytest.raises(UrlRefused):
            parse_webhook_url(url.format(port=f":{port}"), allow_loopback=allow_loopback)
