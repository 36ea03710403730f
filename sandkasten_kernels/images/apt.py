"""The host's apt configuration, as far as it applies inside an image build.

The sources of the archive apply if the image has the host's release; an image of another release keeps its own.
Proxies and timeouts always apply; the certificate bundle is that of pip.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import ImageBuildError
from .bootstrap import Source, archive_sources, codename, index_targets

__all__ = ["AptConfig", "host_apt_config", "parse_apt_options"]

BUILD_DIR = "/build/apt"
COMPONENTS = ("main", "universe", "contrib", "non-free", "non-free-firmware", "restricted", "multiverse")

_OPTION = re.compile(r'(Acquire::(?:https?::(?:Proxy|Timeout)(?:::[A-Za-z0-9.-]+)?|Retries)) "([^"\s\\]*)";')


@dataclass(frozen=True)
class AptConfig:
    """The configuration of apt inside a build.

    Attributes
    ----------
    release: the host's release, such as `debian-bookworm`, to which `sources` belong; empty without apt.
    left_out: sources that a build cannot reach, as `uri release`.
    """

    release: str = ""
    sources: tuple[Source, ...] = ()
    keyrings: Mapping[str, bytes] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: bytes | None = None
    left_out: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """Return the files for `/build/apt`: `apt.conf`, and sources, keyrings and `ca.pem` if there are any."""
        lines = [f'{name} "{value}";' for name, value in sorted(self.options.items())]
        files = dict(self.keyrings)
        if self.ca_bundle is not None:
            lines.append(f'Acquire::https::CAInfo "{BUILD_DIR}/ca.pem";')
            files["ca.pem"] = self.ca_bundle
        if self.sources:
            files[f"{self.release}.list"] = "".join(f"{source.line()}\n" for source in self.sources).encode()
        files["apt.conf"] = "".join(f"{line}\n" for line in lines).encode()
        return files


def parse_apt_options(dump: str) -> dict[str, str]:
    """Return the proxies and timeouts in the output of `apt-config dump`; other options apply to the host alone."""
    found = (_OPTION.fullmatch(line.strip()) for line in dump.splitlines())
    return {match[1]: match[2] for match in found if match and match[2]}


def host_apt_config(
    ca_bundle: bytes | None,
    release: Callable[[], tuple[str, str]] = codename,
    targets: Callable[[], str] = index_targets,
    dump: Callable[[], str] | None = None,
) -> AptConfig:
    """Return this host's configuration for a build; the certificates alone if the host has no apt."""
    options = parse_apt_options((dump or _apt_config_dump)())
    try:
        distribution, name = release()
    except ImageBuildError:
        return AptConfig(options=options, ca_bundle=ca_bundle)
    found = archive_sources(targets(), name, COMPONENTS)
    usable = [source for source in found if source.uri.startswith(("http://", "https://"))]
    left_out = tuple(f"{source.uri} {source.release}" for source in found if source not in usable)
    sources, keyrings = _with_keyrings(usable)
    return AptConfig(f"{distribution}-{name}", sources, keyrings, options, ca_bundle, left_out)


def _with_keyrings(sources: Sequence[Source]) -> tuple[tuple[Source, ...], dict[str, bytes]]:
    """Return `sources` with the paths of their keyrings inside the build, and the contents of these keyrings."""
    moved: list[Source] = []
    names: dict[Path, str] = {}
    for source in sources:
        path, place = Path(source.signed_by), ""
        if path.is_absolute() and path.is_file():
            place = f"{BUILD_DIR}/{names.setdefault(path, f'keyring-{len(names)}{path.suffix}')}"
        moved.append(replace(source, signed_by=place))
    keyrings = {name: path.read_bytes() for path, name in names.items()}
    return tuple(moved), keyrings


def _apt_config_dump() -> str:
    if not shutil.which("apt-config"):
        return ""
    return subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
