"""What a probe inside a sandbox must find, and the places on the network that it tries."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROBE = Path(__file__).with_name("isolation_probe.py").read_text()
REFUSED = ("Operation not permitted", "Function not implemented")
NO_ACCESS = (*REFUSED, "Permission denied", "Read-only file system", "No such file or directory")
NO_ROUTE = ("Network is unreachable", "No route to host", "Connection refused", "timed out", "no route")

Check = Callable[[Any], bool]


def probe(targets: dict[str, tuple[str, int]], paths: list[str]) -> str:
    """Return the probe's code for some TCP targets (``gateway``: the sandbox's next hop) and paths of the host."""
    return f"PARAMETERS = {json.dumps({'targets': targets, 'paths': paths})}\n{PROBE}"


def one_of(*values: Any) -> Check:
    return lambda seen: seen in values


def at_most(limit: int) -> Check:
    return lambda seen: seen is not None and 0 <= seen <= limit


EXPECTED: list[tuple[str, Check]] = [
    ("uid", one_of(10001)),
    ("groups", one_of([10001])),
    ("Cap(Eff|Prm|Inh|Bnd|Amb)", one_of("0" * 16)),
    ("NoNewPrivs", one_of("1")),
    ("Seccomp", one_of("2")),
    ("unshare", one_of(*REFUSED)),
    ("call .*", one_of(*REFUSED)),
    ("socket .*", one_of(*REFUSED)),
    ("door .*", one_of(False)),
    ("block devices", one_of([])),
    ("set-uid files", one_of([])),
    ("root", one_of(["ro"])),
    ("scratch .*", one_of(["nodev", "nosuid"])),
    ("kcore|keys", one_of("empty", *NO_ACCESS)),
    ("cgroup", one_of("nothing in it", *NO_ACCESS)),
    ("release_agent", one_of("absent", *NO_ACCESS)),
    ("write .*", one_of(*NO_ACCESS)),
    ("first process", one_of(["sandkasten_guest"])),
    ("processes", at_most(10)),
    ("host name", lambda seen: set(seen) == {"sandbox"}),
    ("secrets|home|mounts of the host|gateway's door", one_of([])),
    ("memory", one_of(512 * 2**20)),
    ("swap", one_of(0)),
    ("pids", one_of(256)),
    ("cpu", at_most(100_000)),
    ("core", one_of(0)),
    ("nofile", at_most(65536)),
    ("interfaces", one_of(["lo"], ["eth0", "lo"])),
    ("pid 1 .*", one_of(*NO_ACCESS)),
    ("reach the outside", one_of("allowed", *NO_ROUTE)),
    ("reach (?!the outside).*", one_of(*NO_ROUTE)),
]
"""Names of the probe's checks, as regular expressions, and what may be seen."""


def broken(seen: dict[str, Any]) -> dict[str, Any]:
    """Return what was seen other than it must be. A check that nobody expects is an error, as is one not made."""
    wrong: dict[str, Any] = {}
    unmade = {name for name, _ in EXPECTED if not name.startswith("reach")}
    for name, value in seen.items():
        matching = [(pattern, check) for pattern, check in EXPECTED if re.fullmatch(pattern, name)]
        assert len(matching) == 1, name
        unmade.discard(matching[0][0])
        if not matching[0][1](value):
            wrong[name] = value
    assert not unmade, unmade
    return wrong


class Listener:
    """A TCP server on every address of this host; counts who came."""

    def __init__(self) -> None:
        self._server = socket.create_server(("0.0.0.0", 0))
        self.port = self._server.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._server.accept()[0].close()
                self.connections += 1

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def host_addresses() -> list[str]:
    """Return the IPv4 addresses of this host but loopback's."""
    shown = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], check=True, capture_output=True).stdout)
    addresses = [entry["local"] for link in shown for entry in link["addr_info"]]
    return [address for address in addresses if not address.startswith("127.")]


@contextlib.contextmanager
def outside() -> Iterator[dict[str, tuple[str, int]]]:
    """Give targets beyond this host: a network namespace with a server on a public, a private and a metadata address.

    They are addresses for documentation and such that are nobody's here; everything goes at the end of the block.
    """
    name = f"sk{os.getpid()}"
    public, private, metadata = "198.51.100.2", "10.213.77.2", "169.254.169.254"
    steps = [
        f"ip netns add {name}",
        f"ip link add {name}h type veth peer name {name}n",
        f"ip link set {name}n netns {name}",
        f"ip addr add 198.51.100.1/24 dev {name}h",
        f"ip link set {name}h up",
        f"ip -n {name} link set {name}n up",
        f"ip -n {name} link set lo up",
        *(f"ip -n {name} addr add {address} dev {name}n" for address in (f"{public}/24", private, metadata)),
        f"ip -n {name} route add default via 198.51.100.1",
        *(f"ip route add {address}/32 via {public}" for address in (private, metadata)),
    ]
    server = None
    try:
        for step in steps:
            subprocess.run(step.split(), check=True, capture_output=True)
        program = "import socket; s = socket.create_server(('0.0.0.0', 8000)); print(flush=True)\nwhile 1: s.accept()"
        command = ["ip", "netns", "exec", name, sys.executable, "-c", program]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert server.stdout
        server.stdout.readline()
        for address in (public, private, metadata):
            socket.create_connection((address, 8000), 5).close()
        yield {
            "the outside": (public, 8000),
            "a private network": (private, 8000),
            "the metadata address": (metadata, 8000),
        }
    finally:
        if server:
            server.kill()
            server.communicate()
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", f"{name}h"], check=False, capture_output=True)
