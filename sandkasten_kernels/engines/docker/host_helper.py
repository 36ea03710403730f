"""Runs on the engine's host, in a short-lived container as root: limits a cgroup and loads packet rules.

Only the standard library is available. ``/cgroup`` is the host's ``/sys/fs/cgroup``; ``/host`` is its root, read-only,
and has the ``nft`` that is used. The argument is a JSON object with optional keys: ``cgroup`` and ``memory_bytes`` set
a limit, ``rules`` are loaded with ``nft -f``, ``table`` is their table (stdout says "missing" when it was not there),
``gone`` is a cgroup to remove. An error is one line on stderr, with exit code 1.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path


def limit_memory(cgroup: str, memory_bytes: int) -> None:
    version_1 = Path("/cgroup/memory") / cgroup / "memory.limit_in_bytes"
    version_2 = Path("/cgroup") / cgroup / "memory.max"
    (version_1 if version_1.parent.is_dir() else version_2).write_text(str(memory_bytes))


def remove_cgroup(cgroup: str) -> None:
    for directory in [*Path("/cgroup").glob(f"*/{cgroup}"), Path("/cgroup") / cgroup]:  # v1: one for each controller
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()


def load_rules(rules: str, table: str) -> None:
    os.chroot("/host")
    os.chdir("/")
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        if (
            table
            and subprocess.run(["nft", "list", "table", *table.split()], check=False, capture_output=True).returncode
        ):
            print("missing", flush=True)
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, capture_output=True)
    except FileNotFoundError:
        sys.exit("the host has no nft: install its package nftables")
    except subprocess.CalledProcessError as error:
        sys.exit("nft failed: " + " ".join(error.stderr.split())[:300])


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        if cgroup := request.get("cgroup"):
            limit_memory(cgroup, request["memory_bytes"])
        if cgroup := request.get("gone"):
            remove_cgroup(cgroup)
    except OSError as error:
        sys.exit(f"the cgroup {cgroup}: {error.strerror}")
    if rules := request.get("rules"):
        load_rules(rules, request.get("table", ""))


main()
