"""The check of webhook URLs and addresses: the allowed ones, and many spellings of the refused ones."""

from __future__ import annotations

import pytest

from shared.errors import SamovarError, UrlRefused
from shared.webhooks.urls import URL_LIMIT, WebhookUrl, check_addresses, parse_webhook_url
from tests.hostile import HOSTILE_ADDRESSES, HOSTILE_URLS, LOOPBACK_URLS

URL = parse_webhook_url("https://receiver.example/")
PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.215.14", "223.255.255.254", "2606:4700::1111", "2a00:1450:4001::8a", "3ffe::1")


def test_list_of_hostile_urls_is_long_and_has_no_duplicates() -> None:
    urls = HOSTILE_URLS + LOOPBACK_URLS
    assert len(urls) >= 60
    assert len(set(urls)) == len(urls)
    assert len(set(HOSTILE_ADDRESSES)) == len(HOSTILE_ADDRESSES)


@pytest.mark.parametrize("url", HOSTILE_URLS + LOOPBACK_URLS, ids=ascii)
def test_hostile_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_webhook_url(url.format(port=""))


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=ascii)
@pytest.mark.parametrize("port", ["", ":9001"])
def test_allowing_loopback_allows_no_hostile_url(url: str, port: str) -> None:
    with pytest.raises(UrlRefused):
        parse_webhook_url(url.format(port=port), allow_loopback=True)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://receiver.example", "receiver.example", "/"),
        ("https://receiver.example/", "receiver.example", "/"),
        ("https://receiver.example:443/", "receiver.example", "/"),
        ("HTTPS://Receiver.EXAMPLE/Path", "receiver.example", "/Path"),
        ("https://receiver.example?x=1", "receiver.example", "/?x=1"),
        ("https://receiver.example/a/../b//c;d=e,f", "receiver.example", "/a/../b//c;d=e,f"),
        ("https://receiver.example/hooks?a=1&b=%20%0a&c=@:/?!", "receiver.example", "/hooks?a=1&b=%20%0a&c=@:/?!"),
        ("https://hooks.my_team.receiver.example/", "hooks.my_team.receiver.example", "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://1.2.3.4.receiver.example/", "1.2.3.4.receiver.example", "/"),
        ("https://0x7f.receiver.example/", "0x7f.receiver.example", "/"),
        ("https://localhost.receiver.example/", "localhost.receiver.example", "/"),
        ("https://notlocalhost.example/", "notlocalhost.example", "/"),
        (f"https://{'a' * 63}.example/", f"{'a' * 63}.example", "/"),
    ],
)
def test_ordinary_urls_are_parsed(url: str, host: str, path: str) -> None:
    assert parse_webhook_url(url) == WebhookUrl("https", host, 443, path, is_address=False)
    assert parse_webhook_url(url).authority == host


def test_longest_url_is_accepted_and_a_longer_one_is_refused() -> None:
    url = "https://receiver.example/"
    assert parse_webhook_url(url + "x" * (URL_LIMIT - len(url)))
    with pytest.raises(UrlRefused):
        parse_webhook_url(url + "x" * (URL_LIMIT - len(url) + 1))


def test_public_address_in_standard_form_is_accepted() -> None:
    assert parse_webhook_url("https://1.1.1.1/").host == "1.1.1.1"
    parsed = parse_webhook_url("https://[2606:4700:0::1111]:443/x")
    assert parsed == WebhookUrl("https", "2606:4700::1111", 443, "/x", is_address=True)
    assert parsed.authority == "[2606:4700::1111]"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://receiver.example/", "The URL's scheme must be https"),
        ("https://receiver.example:8443/", "The URL's port must be 443"),
        ("https://receiver.example/#x", "without a fragment"),
        ("https://receiver.example/a b", "percent-encoded"),
        ("https://bücher.example/", "xn--"),
        ("https://receiver.example:0443/", "port is malformed"),
        ("https://0x7f000001/", "an address in a non-standard form"),
        ("https://10.0.0.1/", "an address that is not public"),
        ("https://intranet/", "not a public name"),
        ("https://receiver.example./", "no dot at the end"),
    ],
)
def test_refusal_gives_the_reason(url: str, reason: str) -> None:
    with pytest.raises(UrlRefused, match=reason):
        parse_webhook_url(url)


def test_refusal_does_not_contain_the_url() -> None:
    """Refusals are logged and shown to clients. The URL may contain credentials."""
    with pytest.raises(SamovarError) as refusal:
        parse_webhook_url("https://user:hunter2@receiver.example/")
    assert str(refusal.value) == "The URL must not contain credentials"


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES, ids=ascii)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_name_with_a_hostile_address_is_refused(address: str, allow_loopback: bool) -> None:
    """It is refused at every position among public addresses."""
    for addresses in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        with pytest.raises(UrlRefused):
            check_addresses(URL, addresses, allow_loopback=allow_loopback)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1"])
def test_loopback_addresses_are_refused_unless_allowed(address: str) -> None:
    with pytest.raises(UrlRefused):
        check_addresses(URL, [address])
    assert check_addresses(URL, [address], allow_loopback=True) == [address]


def test_name_without_addresses_is_refused() -> None:
    with pytest.raises(UrlRefused):
        check_addresses(URL, [])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_accepted(address: str) -> None:
    assert check_addresses(URL, [address, "1.1.1.1"]) == [address, "1.1.1.1"]


def test_accepted_addresses_are_returned_in_canonical_form() -> None:
    """The connection must go to the checked address, not to another reading of the same text."""
    assert check_addresses(URL, ["2606:4700:0:0:0:0:0:0001"]) == ["2606:4700::1"]


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:8000/hook", "127.0.0.1:8000"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1:443/", "127.0.0.1:443"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://127.0.0.1:80/", "127.0.0.1:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("http://localhost:8000/", "localhost:8000"),
        ("https://receiver.example:8443/", "receiver.example:8443"),
    ],
)
def test_allowing_loopback_allows_http_and_every_port(url: str, authority: str) -> None:
    assert parse_webhook_url(url, allow_loopback=True).authority == authority
    assert parse_webhook_url(url, allow_loopback=True).is_https == url.startswith("https")


@pytest.mark.parametrize("url", ["http://receiver.example/", "https://receiver.example:8443/", "http://localhost:443/"])
def test_http_and_other_ports_are_refused_for_public_addresses(url: str) -> None:
    """Allowing loopback changes nothing for other addresses."""
    parsed = parse_webhook_url(url, allow_loopback=True)
    with pytest.raises(UrlRefused):
        check_addresses(parsed, ["1.1.1.1"], allow_loopback=True)
    assert check_addresses(parsed, ["127.0.0.1"], allow_loopback=True) == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["http://1.1.1.1/", "https://1.1.1.1:8443/", "http://[2606:4700::1111]/"])
def test_http_and_other_ports_are_refused_for_a_public_address_in_the_url(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_webhook_url(url, allow_loopback=True)
