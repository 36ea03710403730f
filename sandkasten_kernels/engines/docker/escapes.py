"""Versions of the engine's components with a known container escape.

The list ages. To bring it up to date, read the security advisories since `LISTED_UNTIL` of
https://github.com/opencontainers/runc, https://github.com/containerd/containerd, https://github.com/moby/moby and
https://docs.docker.com/security/security-announcements/; add an `Escape` for each by which code in a container reaches
the host; then set `LISTED_UNTIL` to the day of your reading. A test fails when that day is more than 18 months ago.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from packaging.version import Version

__all__ = ["LISTED_UNTIL", "Escape", "is_packaged", "known_escapes", "upstream_version"]

_UPSTREAM = re.compile(r"v?(\d+(?:\.\d+)*(?:-(?:rc|beta|alpha)\.?\d+)?)")
_PACKAGED = re.compile(r"ds\d|dfsg|deb\d|ubuntu|[-+]\d+\.(?:el|fc|amzn)|\.(?:el|fc)\d|~bpo|git\d")


LISTED_UNTIL = date(2025, 11, 5)
"""The day of the newest advisory in the list, of runc. Nobody has looked for later ones yet."""


@dataclass(frozen=True)
class Escape:
    """A vulnerability of one component of the engine.

    Attributes
    ----------
    component: the component, as the engine names it.
    fixed: the first fixed version of each release series, in order; every later version is fixed too.
    since: the first affected version; empty if all before the fix are affected.
    """

    component: str
    cves: str
    what: str
    fixed: tuple[str, ...]
    since: str = ""

    def affects(self, version: Version) -> bool:
        """Return whether the published version is affected."""
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
"""Escapes that an update fixes. AuthZ stands for the engine itself when authorization plugins are in use."""


def upstream_version(text: str) -> Version | None:
    """Return the version without a distribution's suffix (1.1.5 of `1.1.5+ds1-1+deb12u1`); None if it is not one."""
    match = _UPSTREAM.match(text)
    return Version(match[1]) if match else None


def is_packaged(text: str) -> bool:
    """Return whether a version is a distribution's, which may contain fixes that the number does not show."""
    return _PACKAGED.search(text) is not None


def known_escapes(component: str, version: str, escapes: Iterable[Escape] = ESCAPES) -> list[Escape]:
    """Return the escapes that affect the published `version` of `component`; none for an unknown version."""
    number = upstream_version(version)
    if number is None:
        return []
    return [escape for escape in escapes if escape.component == component and escape.affects(number)]
