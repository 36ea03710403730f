"""The address to listen at."""

from __future__ import annotations

import ipaddress
import re

from ..errors import ConfigError
from .validation import in_words

__all__ = ["is_loopback", "parse_listen", "reachable", "url_host"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\Z")
"""The end of a name that some resolvers read as an IPv4 address, as 127.1 or 0x7f000001."""


def parse_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; port 0 means any free one.

    The host is "" (all interfaces) for `:PORT`. An IPv6 address stands in brackets: `[::1]:8080`.
    Raises `ConfigError`.
    """
    host, colon, port = listen.rpartition(":")
    # isdigit alone is true of ² too, at which int() fails
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise ConfigError(f"listen: expected HOST:PORT as in 127.0.0.1:8080, got {in_words(listen)}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = _is_address(host, ipaddress.IPv6Address)
    elif ":" in host:
        raise ConfigError(f"listen: expected an IPv6 address in brackets, [::1]:8080, got {in_words(listen)}")
    elif _NUMERIC.search(host):
        valid = _is_address(host, ipaddress.IPv4Address)
    else:
        valid = not host or _HOST_NAME.fullmatch(host) is not None
    if not valid:
        raise ConfigError(f"listen: {in_words(host)} is neither a host name nor an address")
    return host, int(port)


def reachable(host: str) -> str:
    """Return the host at which this machine itself reaches a server that listens at ``host``."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def url_host(host: str) -> str:
    """Return a host in the form of a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`; False for "" and for every name but localhost."""
    if host.casefold() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.11 does not call ::ffff:127.0.0.1 a loopback address
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_address(host: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return True
