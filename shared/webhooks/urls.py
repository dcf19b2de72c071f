"""The URLs that a webhook may call: https on port 443, at addresses of the public Internet.

The check has two steps, because no name is resolved while a client waits. `parse_webhook_url` reads the URL at submit
and before each attempt. `check_addresses` checks the addresses to which the host's name resolves at an attempt.

One strict grammar reads the URL and refuses everything else. Lenient parsers disagree with each other: one could then
check another host than the one that is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from shared.errors import UrlRefused

URL_LIMIT = 2_048  # characters
_NAME_LIMIT = 253  # RFC 1035, section 2.3.4, without the root's dot
_PORTS = {"https": 443, "http": 80}

_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})*")  # RFC 3986, section 2
_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<path>/[^?#\[\]]*)?(?P<query>\?[^#\[\]]*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # resolvers read a name with such a last label as an IPv4 address

# Names outside the public Internet (RFC 6761, 6762, 8375). `internal` is reserved for private use.
_PRIVATE_NAMES = ("localhost", "local", "home.arpa", "internal")

# The whole IANA IPv4 special-purpose registry. Some of its anycast services are reachable, but none takes webhooks.
# `is_global` would pass several of these.
_SPECIAL_IPV4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared between a carrier and its customers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local: instance metadata, and the runtime's own services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunneling
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]

# Only this block holds public IPv6 addresses. Outside it are loopback, link-local, site-local (fec0::/10) and
# unique local addresses, multicast, segment routing (5f00::/16), and most forms that embed an IPv4 address:
# mapped, compatible, translated, and both of NAT64.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
# The entries of the IANA IPv6 special-purpose registry inside that block.
_SPECIAL_IPV6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, with Teredo, benchmarks and both kinds of ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))


@dataclass(frozen=True)
class WebhookUrl:
    """The parts of a URL that are needed to call it.

    `host` is in lower-case ASCII; an IPv6 address has no brackets. `path` is the request target with the query
    (RFC 9112, section 3.2.1).
    """

    scheme: str
    host: str
    port: int
    path: str
    is_address: bool

    @property
    def authority(self) -> str:
        """Return the value of the header `Host` (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_https(self) -> bool:
        """Return whether the scheme is https."""
        return self.scheme == "https"

    @property
    def is_standard(self) -> bool:
        """Return whether the URL is https on port 443. Only such a URL may leave the machine."""
        return self.is_https and self.port == _PORTS["https"]


def parse_webhook_url(url: str, *, allow_loopback: bool = False) -> WebhookUrl:
    """Return the parts of `url`. Do not resolve its name, but check a host that is an address.

    With `allow_loopback`, http and other ports are accepted, too. `check_addresses` keeps those on this machine.

    Raises:
        UrlRefused: If a webhook may not call the URL, or if the URL is ambiguous.
    """
    match = _URL.fullmatch(_check_characters(url))
    if match is None:
        raise UrlRefused("The URL must look like https://host/path?query, percent-encoded and without a fragment")
    scheme = match["scheme"].lower()
    if scheme != "https" and not (allow_loopback and scheme == "http"):
        raise UrlRefused("The URL's scheme must be https")
    host, port, is_address = _parse_authority(match["authority"])
    path = (match["path"] or "/") + (match["query"] or "")
    parsed = WebhookUrl(scheme, host, port or _PORTS[scheme], path, is_address)
    if not (parsed.is_standard or allow_loopback):
        raise UrlRefused("The URL's port must be 443")
    if is_address:
        check_addresses(parsed, [host], allow_loopback=allow_loopback)
    elif not allow_loopback:
        _check_public_name(host)
    return parsed


def check_addresses(parsed: WebhookUrl, addresses: Iterable[str], *, allow_loopback: bool = False) -> list[str]:
    """Return `addresses` in canonical form if every one of them may be called.

    Raises:
        UrlRefused: If one of them may not be called, or if there is none.
    """
    checked = []
    for text in addresses:
        address = _parse_address(text)
        if not ((parsed.is_standard and _is_public(address)) or (allow_loopback and _is_loopback(address))):
            raise UrlRefused("The URL's host has an address that is not public")
        checked.append(str(address))
    if not checked:
        raise UrlRefused("The URL's host has no address")
    return checked


def _check_characters(url: str) -> str:
    if len(url) > URL_LIMIT:
        raise UrlRefused(f"The URL must have at most {URL_LIMIT:,} characters")
    # Refuse white space, control characters, backslashes and look-alikes before any other check.
    if not _CHARACTERS.fullmatch(url):
        raise UrlRefused("The URL has characters that must be percent-encoded; in the host, use the xn--… form")
    return url


def _parse_authority(authority: str) -> tuple[str, int | None, bool]:
    """Return the host, the port or None, and whether the host is an address."""
    if "@" in authority:
        raise UrlRefused("The URL must not contain credentials")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match["port"] or 0) > 65_535:
        raise UrlRefused("The URL's host or port is malformed")
    port = int(match["port"]) if match["port"] else None
    if match["ipv6"] is not None:
        return _parse_literal(match["ipv6"], IPv6Address), port, True
    name = match["name"].lower()
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _parse_literal(name, IPv4Address), port, True
    _check_name(name)
    return name, port, False


def _parse_literal(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> str:
    try:
        return str(kind(text))
    except ValueError:
        raise UrlRefused("The URL's host is an address in a non-standard form") from None


def _check_name(name: str) -> None:
    if len(name) > _NAME_LIMIT or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise UrlRefused(
            "The URL's host is not a valid name: use labels of letters, digits and hyphens, and no dot at the end"
        )


def _check_public_name(name: str) -> None:
    if "." not in name or name.endswith(tuple(f".{private}" for private in _PRIVATE_NAMES)):
        raise UrlRefused("The URL's host is not a public name")


def _parse_address(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise UrlRefused("The URL's host has a malformed address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise UrlRefused("The URL's host has an address that is not public")  # a zone names a link of this machine
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_IPV4)
    return address in _PUBLIC_IPV6 and not (_is_isatap(address) or any(address in block for block in _SPECIAL_IPV6))


def _is_isatap(address: IPv6Address) -> bool:
    """Return whether the interface identifier embeds an IPv4 address (RFC 5214, section 6.1), under any prefix."""
    return int(address) >> 32 & 0xFDFF_FFFF == 0x0000_5EFE


def _is_loopback(address: IPv4Address | IPv6Address) -> bool:
    return any(address in block for block in _LOOPBACK)
