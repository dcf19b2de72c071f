"""The address guard: what a webhook may call, and the many spellings of what it may not."""

from __future__ import annotations

import pytest

from shared.addresses import URL_LIMIT, Target, checked_addresses, webhook_target
from shared.errors import SamovarError, UrlRefused
from tests.hostile import HOSTILE_ADDRESSES, HOSTILE_URLS, LOOPBACK_URLS

TARGET = webhook_target("https://receiver.example/")
PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.215.14", "223.255.255.254", "2606:4700::1111", "2a00:1450:4001::8a", "3ffe::1")


def test_the_table_is_long_enough_and_repeats_nothing() -> None:
    urls = HOSTILE_URLS + LOOPBACK_URLS
    assert len(urls) >= 60
    assert len(set(urls)) == len(urls)
    assert len(set(HOSTILE_ADDRESSES)) == len(HOSTILE_ADDRESSES)


@pytest.mark.parametrize("url", HOSTILE_URLS + LOOPBACK_URLS, ids=ascii)
def test_hostile_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        webhook_target(url.format(port=""))


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=ascii)
@pytest.mark.parametrize("port", ["", ":9001"])
def test_allowing_loopback_makes_no_hostile_url_acceptable(url: str, port: str) -> None:
    with pytest.raises(UrlRefused):
        webhook_target(url.format(port=port), allow_loopback=True)


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
def test_ordinary_urls_are_taken_apart(url: str, host: str, path: str) -> None:
    assert webhook_target(url) == Target("https", host, 443, path, is_address=False)
    assert webhook_target(url).authority == host


def test_a_url_of_the_greatest_length_is_accepted() -> None:
    url = "https://receiver.example/"
    assert webhook_target(url + "x" * (URL_LIMIT - len(url)))
    with pytest.raises(UrlRefused):
        webhook_target(url + "x" * (URL_LIMIT - len(url) + 1))


def test_public_addresses_are_accepted_in_their_usual_form() -> None:
    assert webhook_target("https://1.1.1.1/").host == "1.1.1.1"
    target = webhook_target("https://[2606:4700:0::1111]:443/x")
    assert target == Target("https", "2606:4700::1111", 443, "/x", is_address=True)
    assert target.authority == "[2606:4700::1111]"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://receiver.example/", "The URL's scheme must be https"),
        ("https://receiver.example:8443/", "The URL's port must be 443"),
        ("https://receiver.example/#x", "no fragment"),
        ("https://receiver.example/a b", "percent-encoded"),
        ("https://bücher.example/", "xn--"),
        ("https://receiver.example:0443/", "port cannot be read"),
        ("https://0x7f000001/", "an address in an unusual form"),
        ("https://10.0.0.1/", "an address that is not public"),
        ("https://intranet/", "not a public name"),
        ("https://receiver.example./", "no dot at the end"),
    ],
)
def test_a_refusal_says_why(url: str, reason: str) -> None:
    with pytest.raises(UrlRefused, match=reason):
        webhook_target(url)


def test_a_refusal_is_one_of_ours_and_does_not_repeat_the_url() -> None:
    """It goes to logs and clients; a URL may hold credentials."""
    with pytest.raises(SamovarError) as refusal:
        webhook_target("https://user:hunter2@receiver.example/")
    assert str(refusal.value) == "The URL must not hold credentials"


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES, ids=ascii)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_a_name_with_a_hostile_address_is_refused(address: str, allow_loopback: bool) -> None:
    """Wherever it stands among public ones."""
    for addresses in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        with pytest.raises(UrlRefused):
            checked_addresses(TARGET, addresses, allow_loopback=allow_loopback)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1"])
def test_loopback_addresses_are_refused_unless_allowed(address: str) -> None:
    with pytest.raises(UrlRefused):
        checked_addresses(TARGET, [address])
    assert checked_addresses(TARGET, [address], allow_loopback=True) == [address]


def test_a_name_without_addresses_is_refused() -> None:
    with pytest.raises(UrlRefused):
        checked_addresses(TARGET, [])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert checked_addresses(TARGET, [address, "1.1.1.1"]) == [address, "1.1.1.1"]


def test_what_passes_is_written_canonically() -> None:
    """So that what is connected to is what was checked, and not another reading of the same text."""
    assert checked_addresses(TARGET, ["2606:4700:0:0:0:0:0:0001"]) == ["2606:4700::1"]


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
def test_where_loopback_is_allowed_so_are_http_and_any_port(url: str, authority: str) -> None:
    assert webhook_target(url, allow_loopback=True).authority == authority
    assert webhook_target(url, allow_loopback=True).is_https == url.startswith("https")


@pytest.mark.parametrize("url", ["http://receiver.example/", "https://receiver.example:8443/", "http://localhost:443/"])
def test_http_and_other_ports_never_leave_the_machine(url: str) -> None:
    """Allowing loopback loosens nothing for anything else."""
    target = webhook_target(url, allow_loopback=True)
    with pytest.raises(UrlRefused):
        checked_addresses(target, ["1.1.1.1"], allow_loopback=True)
    assert checked_addresses(target, ["127.0.0.1"], allow_loopback=True) == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["http://1.1.1.1/", "https://1.1.1.1:8443/", "http://[2606:4700::1111]/"])
def test_neither_do_they_for_an_address_in_the_url(url: str) -> None:
    with pytest.raises(UrlRefused):
        webhook_target(url, allow_loopback=True)
