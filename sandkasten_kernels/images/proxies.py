"""The proxy of this machine, as a build is told of it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["proxy_variables"]

_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def proxy_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables in `environ`; the builder keeps these out of an image's history."""
    names = [*_NAMES, *(name.upper() for name in _NAMES)]
    return {name: environ[name] for name in names if environ.get(name)}
