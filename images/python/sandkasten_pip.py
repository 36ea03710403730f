"""pip for a sandbox: installs into a named workspace; without a network it fails at once and prints ways out.

Installing without an index (a wheel in the workspace, ``--no-index``) works as usual, and so does everything when there
is a network.
"""

from __future__ import annotations

import os
import shlex
import sys

from pip._internal.cli.main import main as pip_main

FETCHING = frozenset(("install", "download", "wheel", "index", "search"))
ADVICE = """
This sandbox has no network, so pip cannot download packages. Either
- define a custom image in the gateway's sandkasten.yaml:
      images: {{science: {{from: python, pip: [{packages}]}}}}
  then `sandkasten-kernels images build science`, and choose the kernel `science`;
- or give sandboxes a network: `network_mode: bridge` in the gateway's configuration.
"""


def main(args: list[str] | None = None) -> int:
    """Run pip and return its exit code."""
    words = sys.argv[1:] if args is None else args
    if (base := os.environ.get("PYTHONUSERBASE")) and not _has_target(words):
        os.environ["PIP_PREFIX"] = base  # the image is read-only; a user's own virtual environment has its own pip
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


def _has_target(words: list[str]) -> bool:
    return any(word.partition("=")[0] in ("--user", "--prefix", "--target", "-t", "--root") for word in words)


def has_network() -> bool:
    """Return whether there is a route out of this sandbox."""
    with open("/proc/net/route") as table:
        if any(line.split()[0] != "lo" for line in table.readlines()[1:]):
            return True
    try:
        with open("/proc/net/ipv6_route") as table:
            return any(line.split()[-1] != "lo" for line in table)
    except FileNotFoundError:
        return False
