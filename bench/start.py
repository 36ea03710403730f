"""Measure the time to the first result: POST, connect the WebSocket, get the result of ``1+1``.

One client asks three servers in turn: the gateway with a warm pool (hit), the gateway without one (miss), and
jupyter_kernel_gateway. A round begins when the previous server is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from bench.report import machine, percentile, write

PEER, PEER_VERSION = "jupyter_kernel_gateway", "3.0.1"
V1 = "v1.kernel.websocket.jupyter.org"
BEGIN, END = "<!-- start: begin -->", "<!-- start: end -->"
PATIENCE_SECONDS, SETTLE_SECONDS, POLL_SECONDS = 60, 0.3, 0.05
VERSIONS = "import ipykernel, platform; f'Python {platform.python_version()}, ipykernel {ipykernel.__version__}'"


class Channels:
    """A client's WebSocket to one kernel, in v1 framing if the server supports it, else in legacy framing."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._session = uuid.uuid4().hex
        self.v1 = connection.selected_subprotocol == V1

    async def execute(self, code: str) -> tuple[float, str]:
        """Return the time of the result and its text, once the reply has arrived too, in either order."""
        msg_id = uuid.uuid4().hex
        await self._connection.write_message(self._request(msg_id, code), binary=self.v1)
        result: tuple[float, str] | None = None
        replied = False
        while not (replied and result):
            msg_type, parent, content = self._message(await self._connection.read_message())
            if parent == msg_id and msg_type == "execute_result":
                result = time.perf_counter(), content["data"]["text/plain"]
            elif parent == msg_id and msg_type == "execute_reply":
                replied = True
        return result

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(self, msg_id: str, code: str) -> str | bytes:
        moment = datetime.now(UTC).isoformat()
        header = {"msg_id": msg_id, "msg_type": "execute_request", "session": self._session, "username": "bench"}
        header |= {"date": moment, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}}
        if not self.v1:
            return json.dumps(
                {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
            )
        parts = [b"shell", *(json.dumps(part).encode() for part in (header, {}, {}, content))]
        offsets = [8 * (len(parts) + 2)]
        for part in parts:
            offsets.append(offsets[-1] + len(part))
        return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)

    def _message(self, frame: str | bytes | None) -> tuple[str, str | None, dict[str, Any]]:
        """Return type, parent's id and content of a message."""
        if frame is None:
            raise ConnectionError("the server closed the connection")
        if isinstance(frame, str):
            message = json.loads(frame)
            return message["msg_type"], message["parent_header"].get("msg_id"), message["content"]
        (count,) = struct.unpack_from("<Q", frame)
        parts = [frame[a:b] for a, b in itertools.pairwise(struct.unpack_from(f"<{count}Q", frame, 8))]
        header, parent, _, content = (json.loads(part) for part in parts[1:5])
        return header["msg_type"], parent.get("msg_id"), content


@dataclass
class Server:
    """A running server, and its times in seconds by name: one for each round; under ``cell`` one for each cell."""

    name: str
    url: str
    token: str
    kernel: str = ""
    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def request(self, method: str, path: str) -> Any:
        """Return the JSON document of an answer; None for an empty one."""
        headers = {"Authorization": f"token {self.token}"}
        body = "" if method == "POST" else None
        answer = await AsyncHTTPClient().fetch(
            HTTPRequest(self.url + path, method, headers, body, request_timeout=PATIENCE_SECONDS)
        )
        return json.loads(answer.body) if answer.body else None

    async def ready(self) -> None:
        """Return when the server answers and is quiet."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(OSError, HTTPClientError):
                    await self.request("GET", "/api/kernels")
                    break
                await asyncio.sleep(POLL_SECONDS)
        await self.quiet()

    async def quiet(self) -> None:
        """Return when the server is idle: no kernel in use or starting, the pool full, and a short pause over."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._works():
                await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)

    async def _works(self) -> bool:
        if self.name.startswith(PEER):
            return bool(await self.request("GET", "/api/kernels"))
        pool = (await self.request("GET", "/api/status"))["pool"]
        return any(row["starting"] or row["claimed"] or row["warm"] < row["target"] for row in pool)

    async def round(self, cells: int) -> None:
        """Measure one kernel from its creation to its first result, then further cells."""
        channels_of = "ws" + self.url.removeprefix("http") + "/api/kernels/{}/channels?token=" + self.token
        async with asyncio.timeout(PATIENCE_SECONDS):
            begin = time.perf_counter()
            kernel_id = (await self.request("POST", "/api/kernels"))["id"]
            posted = time.perf_counter()
            channels = Channels(await websocket_connect(channels_of.format(kernel_id), subprotocols=[V1]))
            connected = time.perf_counter()
            result_at, _ = await channels.execute("1+1")
            self.times["total"].append(result_at - begin)
            self.times["post"].append(posted - begin)
            self.times["connect"].append(connected - posted)
            self.times["result"].append(result_at - connected)
            for _ in range(cells):
                sent = time.perf_counter()
                await channels.execute("1+1")
                self.times["cell"].append(time.perf_counter() - sent)
            if not self.kernel:
                _, text = await channels.execute(VERSIONS)
                self.kernel = ("v1, " if channels.v1 else "legacy, ") + text.strip("'")
            channels.close()
            await self.request("DELETE", f"/api/kernels/{kernel_id}")
        await self.quiet()


@contextlib.contextmanager
def running(folder: Path, name: str, command: Sequence[str], env: Mapping[str, str]) -> Iterator[Server]:
    """Start a server in a process of its own on a free port, and stop it at the end of the block.

    When the block raises, print the end of the server's log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    values = {key: value.format(token=token) for key, value in env.items()}
    log = folder / f"{port}.log"
    with log.open("wb") as file:
        filled = [part.format(port=port) for part in command]
        process = subprocess.Popen(filled, env={**os.environ, **values}, stdout=file, stderr=file)
    measured = False
    try:
        yield Server(name, f"http://127.0.0.1:{port}", token)
        measured = True
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        if not measured:
            print(f"{name}:\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)


@contextlib.contextmanager
def all_servers(folder: Path, peer: Path) -> Iterator[list[Server]]:
    """Run the gateway with and without a pool, and the peer with its defaults."""
    ours = [sys.executable, "-m", "sandkasten_kernels", "serve", "--listen=127.0.0.1:{port}"]
    hit = [*ours, f"--data-dir={folder}/hit"]
    miss = [*ours, f"--data-dir={folder}/miss", "--Pool.enabled=False"]
    key = {"SANDKASTEN_API_KEY": "{token}"}
    theirs = [str(peer), "-m", "kernel_gateway", "--KernelGatewayApp.port={port}"]
    settings = {"KG_AUTH_TOKEN": "{token}", "KG_LIST_KERNELS": "True", "JUPYTER_NO_CONFIG": "1"}
    settings |= {f"JUPYTER_{kind}_DIR": f"{folder}/{kind}" for kind in ("CONFIG", "DATA", "RUNTIME")}
    with (
        running(folder, "sandkasten-kernels, pool hit", hit, key) as pooled,
        running(folder, "sandkasten-kernels, pool miss", miss, key) as cold,
        running(folder, f"{PEER} {PEER_VERSION}", theirs, settings) as other,
    ):
        yield [pooled, cold, other]


def peer_python() -> Path:
    """Return the interpreter of the peer's own environment; create that if it is missing, which takes a minute."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = cache / "sandkasten-kernels" / f"{PEER}-{PEER_VERSION}"
    made = venv / "made"
    if not made.exists():
        print(f"creating {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"{PEER}=={PEER_VERSION}", "ipykernel"], check=True)
        made.touch()
    return venv / "bin" / "python"


def report(servers: Sequence[Server], options: argparse.Namespace, load: float) -> str:
    """Return the Markdown text: the table, the machine and the command."""
    lines = [
        "Milliseconds from POST over the WebSocket to the first result of `1+1`; then the medians of the three parts,",
        "and of a further cell until its result and its reply have arrived. One client asked the servers in turn,",
        f"{options.rounds} rounds each after {options.warmup} rounds that do not count.",
        "",
        "| | p50 | p95 | p99 | POST | connect | first result | further cell | framing and kernel |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for server in servers:
        figures = [percentile(server.times["total"], percent) for percent in (50, 95, 99)]
        figures += [percentile(server.times[part], 50) for part in ("post", "connect", "result", "cell")]
        lines.append(f"| {server.name} | {' | '.join(figures)} | {server.kernel} |")
    lines += [
        "",
        machine(load),
        "",
        f"    python -m bench.start --rounds {options.rounds} --warmup {options.warmup} --cells {options.cells}",
    ]
    return "\n".join(lines)


async def measure(servers: Sequence[Server], options: argparse.Namespace) -> None:
    """Measure the servers in turn."""
    for server in servers:
        await server.ready()
    for number in range(-options.warmup, options.rounds):
        if number == 0:
            for server in servers:
                server.times.clear()
        for server in servers:
            await server.round(options.cells)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)


def main() -> None:
    """Parse the command line, measure, and print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=100, help="kernels for each server (default: %(default)s)")
    parser.add_argument(
        "--warmup", type=int, default=2, help="further rounds at first, not counted (default: %(default)s)"
    )
    parser.add_argument("--cells", type=int, default=20, help="further cells for each kernel (default: %(default)s)")
    parser.add_argument(
        "--peer-python", type=Path, help=f"interpreter that has {PEER} (default: an environment is created)"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"write the report into FILE, after {BEGIN}")
    options = parser.parse_args()
    if options.write and not all(marker in options.write.read_text() for marker in (BEGIN, END)):
        parser.error(f"{options.write} has no {BEGIN} and {END}")
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        all_servers(Path(folder), options.peer_python or peer_python()) as servers,
    ):
        asyncio.run(measure(servers, options))
        text = report(servers, options, load)
    print(text)
    if options.write:
        write(options.write, text, (BEGIN, END))


if __name__ == "__main__":
    main()
