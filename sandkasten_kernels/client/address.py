"""Which gateway a client talks to, and with what key."""

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
    """A gateway: its URL without a slash at the end, and the key it takes."""

    url: str
    api_key: str = field(repr=False)

    @property
    def proxy(self) -> str | None:
        """The proxy of the environment that leads there; never one to this machine itself."""
        host = urlsplit(self.url).hostname or ""
        if _is_loopback(host) or urllib.request.proxy_bypass(host):
            return None
        return urllib.request.getproxies().get(urlsplit(self.url).scheme)


def find_gateway(base_url: str | None, api_key: str | None) -> Address:
    """Return the gateway of these arguments, else of the environment, else the one of this user on this machine.

    A URL may carry its key as ``?token=``, as the gateway prints it. The key of this machine's gateway is sent to no
    other URL. Raises `GatewayNotFound`.
    """
    base_url = base_url or os.environ.get("SANDKASTEN_URL") or None
    api_key = (api_key or os.environ.get("SANDKASTEN_API_KEY") or "").strip() or None
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise GatewayNotFound("the api_key has a character that no key has")
    if base_url:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise GatewayNotFound(f"{_shown(base_url)} is no URL of a gateway, as {USUAL_URL} is")
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
        f"no gateway of this user runs here ({data_dir}): start one with `sandkasten-kernels`, or say which, with "
        "base_url and api_key or SANDKASTEN_URL and SANDKASTEN_API_KEY"
    )


def _shown(url: str) -> str:
    """Return a URL as a message may have it, without what stands in its query."""
    return repr(url.partition("?")[0][:200])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
