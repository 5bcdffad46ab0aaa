"""Where a callback may go: hostile URLs, every address that is not everybody's, and what the operator allows."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.callback_address import AllowList, refusal, target_of
from ingestion_pipeline.errors import ConfigurationError

NOTHING = AllowList()
PUBLIC = ("8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:81b::200e", "172.32.0.1")
PRIVATE = {
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd00:ec2::254": "private",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%2": "link-local",
    "100.64.0.1": "carrier",
    "100.100.100.200": "carrier",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
    "192.0.0.192": "reserved",
    "198.18.0.1": "reserved",
    "203.0.113.7": "reserved",
    "168.63.129.16": "platform",
    "::ffff:127.0.0.1": "inside",
    "::ffff:8.8.8.8": "inside",
    "64:ff9b::a00:1": "inside",
    "64:ff9b::808:808": "inside",
    "2002:7f00:1::": "inside",
    "::7f00:1": "reserved",
    "2001:0:1::1": "reserved",
    "2001:db8::1": "reserved",
    "4000::1": "reserved",
    "fec0::1": "reserved",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert refusal("hooks.example", [address], NOTHING) is None


@pytest.mark.parametrize(("address", "kind"), PRIVATE.items())
def test_an_address_that_is_not_everybodys_is_refused_and_named(address: str, kind: str) -> None:
    why = refusal("hooks.example", [address], NOTHING)
    assert why is not None
    assert str(ipaddress.ip_address(address)) in why
    assert kind in why


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address) | st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_nothing_that_python_takes_for_local_is_called(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if refusal("hooks.example", [str(address)], NOTHING) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    assert refusal("hooks.example", ["8.8.8.8", "10.0.0.1"], NOTHING) is not None
    assert refusal("hooks.example", ["10.0.0.1", "8.8.8.8"], NOTHING) is not None


def test_what_the_operator_allows_by_network_or_name_may_be_called_and_nothing_else() -> None:
    allowed = AllowList.parse("10.1.0.0/16, Hooks.Internal,192.168.7.7")
    assert refusal("any.example", ["10.1.2.3"], allowed) is None
    assert refusal("any.example", ["192.168.7.7"], allowed) is None
    assert refusal("hooks.internal", ["172.16.0.9"], allowed) is None
    assert refusal("other.internal", ["172.16.0.9"], allowed) is not None
    assert refusal("any.example", ["10.1.2.3", "10.2.0.1"], allowed) is not None
    assert AllowList.parse(None) == AllowList.parse(" , ") == NOTHING


@pytest.mark.parametrize("text", ["10.1.2.3/8", "10.1.2", "hooks example", "http://hooks.example", "*"])
def test_a_list_that_cannot_be_read_is_told_by_the_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="INGESTION_CALLBACK_ALLOWED"):
        AllowList.parse(text)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://hooks.example", (True, "hooks.example", 443, "/", "hooks.example")),
        ("http://Hooks.Example:8080/a/b?c=d", (False, "hooks.example", 8080, "/a/b?c=d", "hooks.example:8080")),
        ("https://hooks.example:443/x", (True, "hooks.example", 443, "/x", "hooks.example")),
        ("https://[2606:4700::1111]:8443/", (True, "2606:4700::1111", 8443, "/", "[2606:4700::1111]:8443")),
        ("http://xn--bcher-kva.example/", (False, "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example")),
    ],
)
def test_a_url_is_taken_apart_as_it_is_called(url: str, parts: tuple[object, ...]) -> None:
    target = target_of(url)
    assert (target.https, target.host, target.port, target.path, target.authority) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/x",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "https:///path",
        "https://me:hush@hooks.example/",
        "https://hush@hooks.example/",
        "https://hooks.example@127.0.0.1/",
        "https://hooks.example/#hush",
        "https://hooks.example:0/",
        "https://hooks.example:22/",
        "https://hooks.example:25/",
        "https://hooks.example:65536/",
        "https://hooks.example:port/",
        "https://hooks.example\\@127.0.0.1/",
        "https://hooks.exa mple/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nHost: other",
        "https://hooks\t.example/",
        "https://hooks%2eexample/",
        "https://hooks..example/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://bücher.example/",
        "https://hooks。example/",
        "https://" + "a" * 64 + ".example/",
        "https://hooks.example/" + "a" * 2048,
        "https://hooks.example\x00.other/",
    ],
)
def test_a_url_that_cannot_be_called_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        target_of(url)
    assert "hush" not in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_a_target_or_a_sentence(text: str) -> None:
    for url in (text, f"https://{text}", f"http://hooks.example/{text}"):
        try:
            target = target_of(url)
        except ConfigurationError:
            continue
        assert target.path.startswith("/")
        assert not set(" \r\n\t") & set(target.path + target.authority)
