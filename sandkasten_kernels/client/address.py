"""Address: the gateway that a client uses, and its API key."""

from __future__ import annotations

import ipaddress
import os
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from .errors import GatewayNotFound
from .runtime_file import default_data_dir, read_running

__all__ = ["Address", "find_gateway"]

USUAL_URL = "http://localhost:8080"


@dataclass(frozen=True)
class Address:
    """The URL of a gateway, without a slash at the end, and its API key."""

    url: str
    api_key: str = field(repr=False)

    @property
    def proxy(self) -> str | None:
        """The URL of the proxy that the environment names for this gateway; None for none, and for this machine."""
        host = urlsplit(self.url).hostname or ""
        if _is_loopback(host) or urllib.request.proxy_bypass(host):
            return None
        return urllib.request.getproxies().get(urlsplit(self.url).scheme)


def find_gateway(base_url: str | None, api_key: str | None) -> Address:
    """Return the gateway that the arguments name, else the environment, else this user's gateway on this machine.

    A URL may contain the key as ``?token=``, as the gateway prints it. The key of this machine's gateway is never sent
    to another URL. Raises `GatewayNotFound`.
    """
    base_url = base_url or os.environ.get("SANDKASTEN_URL") or None
    api_key = (api_key or os.environ.get("SANDKASTEN_API_KEY") or "").strip() or None
    # the key goes into an HTTP header, which takes nothing else
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise GatewayNotFound("api_key: must have printable ASCII characters only")
    if base_url:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise GatewayNotFound(f"base_url: must be a URL as in {USUAL_URL}, got {_shown(base_url)}")
        api_key = api_key or parse_qs(parts.query).get("token", [None])[0]
        base_url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    if base_url and api_key:
        return Address(base_url, api_key)
    data_dir = Path(os.environ.get("SANDKASTEN_DATA_DIR") or default_data_dir())
    running = read_running(data_dir)
    if running and base_url in (None, running.url.rstrip("/")):
        return Address(running.url.rstrip("/"), api_key or running.token)
    if api_key:
        return Address(USUAL_URL, api_key)
    if base_url:
        raise GatewayNotFound(f"no key for {base_url}: give api_key, or set SANDKASTEN_API_KEY")
    raise GatewayNotFound(
        f"no gateway of this user runs here ({data_dir}): start one with `sandkasten-kernels`, or name one by "
        "base_url and api_key, or by SANDKASTEN_URL and SANDKASTEN_API_KEY"
    )


def _shown(url: str) -> str:
    """Return a URL for an error message, without its query, which may have the key."""
    return repr(url.partition("?")[0][:200])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
