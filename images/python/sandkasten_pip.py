"""pip as a sandbox needs it: it installs into a named workspace, and fails at once where there is no network, telling
what can be done.

What needs no index (a wheel in the workspace, ``--no-index``) works as ever, and so does everything where there is a
network.
"""

from __future__ import annotations

import os
import shlex
import sys

from pip._internal.cli.main import main as pip_main

FETCHING = frozenset(("install", "download", "wheel", "index", "search"))
ADVICE = """
This sandbox has no network, so pip cannot fetch packages. What can be done:
- an image of one's own: in the gateway's sandkasten.yaml
      images: {{science: {{from: python, pip: [{packages}]}}}}
  then `sandkasten-kernels images build science`, and choose the kernel `science`;
- or a network for the sandbox: `network_mode: bridge` in the gateway's configuration.
"""


def main(args: list[str] | None = None) -> int:
    """Run pip and return its exit code."""
    words = sys.argv[1:] if args is None else args
    if (base := os.environ.get("PYTHONUSERBASE")) and not _says_where(words):
        os.environ["PIP_PREFIX"] = base  # the image is read-only; a virtual environment of one's own has another pip
    if has_network():
        return pip_main(args)
    os.environ.setdefault("PIP_RETRIES", "0")
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    code = pip_main(args)
    commands = [word for word in words if not word.startswith("-")]
    if code and commands and commands[0] in FETCHING:
        packages = ", ".join(shlex.quote(word) for word in commands[1:]) or "..."
        print(ADVICE.format(packages=packages), end="", file=sys.stderr)
    return code


def _says_where(words: list[str]) -> bool:
    return any(word.partition("=")[0] in ("--user", "--prefix", "--target", "-t", "--root") for word in words)


def has_network() -> bool:
    """Whether there is a route to anywhere but this sandbox itself."""
    with open("/proc/net/route") as table:
        if any(line.split()[0] != "lo" for line in table.readlines()[1:]):
            return True
    try:
        with open("/proc/net/ipv6_route") as table:
            return any(line.split()[-1] != "lo" for line in table)
    except FileNotFoundError:
        return False
