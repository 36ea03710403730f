"""The host's pip and proxy configuration, as far as it applies inside an image build.

Options that name files of the host are left out, because the build does not see these files. The certificate bundle is
the exception: its content is copied into the build.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PipConfig", "host_pip_config", "parse_config_list", "proxy_variables", "translate"]

BUILD_DIR = "/build/pip"

_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_URL_OPTIONS = frozenset({"index-url", "extra-index-url", "find-links"})
_PLAIN_OPTIONS = frozenset({"trusted-host", "timeout", "retries", "proxy"})
_SECTIONS = ("global", "install", ":env:")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True)
class PipConfig:
    """The configuration of pip inside a build; `left_out` lists options that do not apply there, as `option value`."""

    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ca_bundle: bytes | None = None
    left_out: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """Return the files for `/build/pip`: `pip.conf` and, where there is a bundle, `ca.pem`."""
        lines = ["[global]"]
        for name, values in sorted(self.options.items()):
            lines.append(f"{name} = " + "\n    ".join(values))
        files = {}
        if self.ca_bundle is not None:
            lines.append(f"cert = {BUILD_DIR}/ca.pem")
            files["ca.pem"] = self.ca_bundle
        files["pip.conf"] = ("\n".join(lines) + "\n").encode()
        return files


def parse_config_list(text: str) -> dict[str, str]:
    """Return the options in the output of `pip config list`; later sections override earlier ones.

    The order is that of `pip install`: `[global]`, then `[install]`, then the environment.
    """
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in text.splitlines():
        key, separator, literal = line.partition("=")
        section, dot, option = key.rpartition(".")
        if separator and dot and section in found:
            # pip prints values as Python literals.
            found[section][option.replace("_", "-")] = str(ast.literal_eval(literal))
    merged: dict[str, str] = {}
    for section in _SECTIONS:
        merged.update((_ALIASES.get(option, option), value) for option, value in found[section].items())
    return merged


def translate(
    options: Mapping[str, str], environ: Mapping[str, str], bundles: Iterable[str] = _SYSTEM_BUNDLES
) -> PipConfig:
    """Return the part of `options` that applies inside a build, with the certificates that this host trusts.

    The bundle is pip's own `cert`, else `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`, else the first of `bundles`.
    """
    kept: dict[str, tuple[str, ...]] = {}
    left_out: list[str] = []
    for name, value in sorted(options.items()):
        if name in _URL_OPTIONS:
            usable = tuple(url for url in value.split() if url.startswith(("http://", "https://")))
            left_out += [f"{name} {url}" for url in value.split() if url not in usable]
            if usable:
                kept[name] = usable
        elif name in _PLAIN_OPTIONS and value.split():
            kept[name] = tuple(value.split())
        elif name in {"client-cert", "no-index"}:
            left_out.append(f"{name} {value}")
    named = (options.get("cert"), environ.get("SSL_CERT_FILE"), environ.get("REQUESTS_CA_BUNDLE"))
    bundle = next((Path(path) for path in (*named, *bundles) if path and Path(path).is_file()), None)
    return PipConfig(kept, bundle.read_bytes() if bundle else None, tuple(left_out))


def host_pip_config(
    environ: Mapping[str, str] | None = None, list_config: Callable[[], str | None] | None = None
) -> PipConfig:
    """Return this host's configuration for a build; the `PIP_*` variables alone if Python has no pip."""
    environ = os.environ if environ is None else environ
    text = (list_config or _pip_config_list)()
    if text is None:
        variables = [(name[4:].lower(), value) for name, value in environ.items() if name.startswith("PIP_")]
        text = "\n".join(f":env:.{name}={value!r}" for name, value in variables)
    return translate(parse_config_list(text), environ)


def proxy_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables in `environ`; the engine's builder keeps these names out of an image's history."""
    names = [*_PROXY_VARIABLES, *(name.upper() for name in _PROXY_VARIABLES)]
    return {name: environ[name] for name in names if environ.get(name)}


def _pip_config_list() -> str | None:
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
