"""Where the gateway listens: what is an address, and what is open to others."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.config.address import is_loopback, parse_listen
from sandkasten_kernels.errors import ConfigError
from tests.support.stub_sections import one_line


@pytest.mark.parametrize(
    ("listen", "parsed"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("localhost:0", ("localhost", 0)),
        ("my-host.example:65535", ("my-host.example", 65535)),
    ],
)
def test_listen_is_host_and_port(listen: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(listen) == parsed


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "8080",
        "localhost",
        "localhost:",
        "localhost:65536",
        "localhost:-1",
        "localhost:+1",
        "localhost: 1",
        "localhost:\uff18\uff10",
        "localhost:8_0",
        "::1:8080",
        "[]:80",
        "[127.0.0.1]:80",
        "[::1:80",
        "*:80",
        "a b:80",
        "-a:80",
        "http://x:80",
        "127.1:80",
        "256.0.0.1:80",
        "0x7f000001:80",
        "localhost\n:80",
        "1.2.3.4\n:80",
        "localhost:80\n",
    ],
)
def test_anything_else_is_no_address_to_listen_at(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"^listen: [^\n]+\Z"):
        parse_listen(listen)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_comes_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    assert parse_listen(f"{host}:{port}") == (str(address), port)


@given(st.text())
def test_any_text_is_an_address_or_one_line(listen: str) -> None:
    with one_line():
        host, port = parse_listen(listen)
        assert 0 <= port <= 65535
        assert not set(host) & set(" /\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST"])
def test_loopback_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "127.1", "example.org", "localhost.example.org"])
def test_everything_else_is_open_to_others(host: str) -> None:
    assert not is_loopback(host)
