"""Measure ``/v1``: create on a hit, the round trip of a command and of code, a stream's first chunk, and destroy.

One client uses one connection, as an SDK does. A request to ``/healthz`` over the same connection shows the cost of
HTTP and of the client themselves.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import machine, percentile, write
from tests.support.gateway_process import GatewayProcess

BEGIN, END = "<!-- sessions: begin -->", "<!-- sessions: end -->"
MARKS = {
    "create, on a hit": "4",
    "create, on a hit, with a workspace": "12",
    "destroy": "20",
    "cmd `true`": "5 over its own",
}


class Client:
    """A client with one connection."""

    def __init__(self, gateway: GatewayProcess) -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self._headers = {"Authorization": f"Bearer {gateway.token}"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of the answer."""
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        response = self._connection.getresponse()
        data = response.read()
        assert response.status < 300, data
        return json.loads(data)

    def first_chunk(self, path: str, body: Any) -> float:
        """Return the time of a stream's first event; read the stream to its end."""
        self._connection.request("POST", path, json.dumps(body), self._headers)
        response = self._connection.getresponse()
        response.readline()
        came = time.perf_counter()
        response.read()
        return came


def wait_until_warm(client: Client) -> None:
    """Return when the pool has a warm kernel."""
    while client.ask("GET", "/api/status")["pool"][1]["warm"] < 1:
        time.sleep(0.05)


def measure(gateway: GatewayProcess, rounds: int) -> dict[str, list[float]]:
    """Return the times in seconds, by name."""
    times: dict[str, list[float]] = defaultdict(list)
    client = Client(gateway)

    def timed(name: str, method: str, path: str, body: Any = None) -> Any:
        began = time.perf_counter()
        answer = client.ask(method, path, body)
        times[name].append(time.perf_counter() - began)
        return answer

    for _ in range(rounds):
        wait_until_warm(client)
        time.sleep(0.5)
        timed("`/healthz`, for comparison", "GET", "/healthz")
        session = timed("create, on a hit", "POST", "/v1/sessions", {"image": "python"})
        assert session["acquire_source"] == "pool"
        path = f"/v1/sessions/{session['id']}"
        timed("first cmd", "POST", f"{path}/exec", {"cmd": "true"})
        timed("first code", "POST", f"{path}/exec", {"code": "1"})
        for _ in range(5):
            timed("cmd `true`", "POST", f"{path}/exec", {"cmd": "true"})
            timed("cmd `/bin/true`", "POST", f"{path}/exec", {"cmd": "/bin/true"})
            timed("code `1`", "POST", f"{path}/exec", {"code": "1"})
        began = time.perf_counter()
        first = client.first_chunk(f"{path}/exec/stream", {"cmd": "echo x; sleep 0.05"})
        times["first chunk of a stream"].append(first - began)
        timed("destroy", "DELETE", path)
        wait_until_warm(client)
        time.sleep(0.5)
        body = {"image": "python", "workspace_id": "bench"}
        session = timed("create, on a hit, with a workspace", "POST", "/v1/sessions", body)
        assert session["acquire_source"] == "pool"
        client.ask("DELETE", f"/v1/sessions/{session['id']}")
    client.ask("DELETE", "/v1/workspaces/bench")
    return times


def report(times: dict[str, list[float]], rounds: int, load: float) -> str:
    """Return the table, the machine and the command, as Markdown."""
    lines = ["| milliseconds | p50 | p95 | p99 | mark |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {name} | {' | '.join(percentile(values, percent) for percent in (50, 95, 99))} | {MARKS.get(name, '')} |"
        for name, values in times.items()
    ]
    return "\n".join([*lines, "", machine(load), "", f"    python -m bench.sessions --rounds {rounds}"])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the report; with ``--write``, also write it into a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", type=Path, help="a page with the markers of this table")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        GatewayProcess(Path(folder), "pool: {images: {python: 2}}\n") as gateway,
    ):
        text = report(measure(gateway, options.rounds), options.rounds, load)
    print(text)
    if options.write:
        write(options.write, text, (BEGIN, END))


if __name__ == "__main__":
    main()
