"""Versions of the engine's parts with a known way out of a container."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

__all__ = ["Escape", "is_packaged", "known_escapes", "upstream_version"]

_UPSTREAM = re.compile(r"v?(\d+(?:\.\d+)*(?:-(?:rc|beta|alpha)\.?\d+)?)")
_PACKAGED = re.compile(r"ds\d|dfsg|deb\d|ubuntu|[-+]\d+\.(?:el|fc|amzn)|\.(?:el|fc)\d|~bpo|git\d")


@dataclass(frozen=True)
class Escape:
    """A flaw of one part of the engine.

    Attributes
    ----------
    component: the part, as the engine names it.
    fixed: the first good version of each series that got one, in order; all after the last are good.
    since: the first version that has it; empty: all before the fix.
    """

    component: str
    cves: str
    what: str
    fixed: tuple[str, ...]
    since: str = ""

    def affects(self, version: Version) -> bool:
        """Return whether `version`, as its authors published it, has the flaw."""
        if self.since and version < Version(self.since):
            return False
        fixes = [Version(text) for text in self.fixed]
        series = [fix for fix in fixes if fix.release[:2] == version.release[:2]]
        return version < (series[0] if series else fixes[-1])


ESCAPES = (
    Escape("runc", "CVE-2019-5736", "a container overwrites the host's runc", ("1.0.0rc7",)),
    Escape("runc", "CVE-2021-30465", "mounts are exchanged for links to the host", ("1.0.0rc95",)),
    Escape("runc", "CVE-2024-21626", "a leaked descriptor leads to the host's files", ("1.1.12",), "1.0.0rc93"),
    Escape(
        "runc",
        "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        "masked paths and /dev/console are exchanged for files of the host's /proc",
        ("1.2.8", "1.3.3", "1.4.0rc3"),
    ),
    Escape("containerd", "CVE-2020-15257", "its shim's socket is open to the host network", ("1.3.9", "1.4.3")),
    Escape("containerd", "CVE-2022-23648", "an image's volumes name files of the host", ("1.4.13", "1.5.10", "1.6.1")),
    Escape(
        "Docker Desktop", "CVE-2025-9074", "a container reaches the engine's API over Desktop's network", ("4.44.3",)
    ),
    Escape(
        "AuthZ",
        "CVE-2024-41110",
        "a request without a body passes the authorization plugins",
        ("23.0.15", "25.0.6", "26.1.5", "27.1.1"),
        "19.3",
    ),
)
"""Those that a newer version mends. AuthZ is the engine's with authorization plugins in use."""


def upstream_version(text: str) -> Version | None:
    """Return what stands before a distribution's suffix: 1.1.5 of `1.1.5+ds1-1+deb12u1`; None for no version."""
    match = _UPSTREAM.match(text)
    return Version(match[1]) if match else None


def is_packaged(text: str) -> bool:
    """Return whether a version is a distribution's, which may have a fix that its number does not show."""
    return _PACKAGED.search(text) is not None


def known_escapes(component: str, version: str, escapes: Iterable[Escape] = ESCAPES) -> list[Escape]:
    """Return the flaws that the published `version` of `component` has."""
    number = upstream_version(version)
    if number is None:
        return []
    return [escape for escape in escapes if escape.component == component and escape.affects(number)]
