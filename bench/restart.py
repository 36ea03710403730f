"""Measure how fast a killed gateway serves again, and check that all its sandboxes keep running.

Times count from the start of the new process, including the start of Python. JupyterLab retries for about 33 s.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import machine, percentile, write
from bench.sessions import Client
from tests.support.gateway_process import GatewayProcess

BEGIN, END = "<!-- restart: begin -->", "<!-- restart: end -->"
MARK = "3000"
CONFIG = (
    "pool: {{enabled: false}}\ndefaults: {{mem_limit_mb: 256}}\nlimits: {{max_sandboxes: {0}, host_reserve_mb: 64}}\n"
)


def create(client: Client, count: int) -> dict[str, int]:
    """Return the new sessions: for each id, the value of the variable ``number`` in its kernel."""
    numbers = {}
    for number in range(count):
        session = client.ask("POST", "/v1/sessions", {"image": "python"})["id"]
        client.ask("POST", f"/v1/sessions/{session}/exec", {"code": f"number = {number}"})
        numbers[session] = number
    return numbers


def measure(gateway: GatewayProcess, count: int, rounds: int) -> dict[str, list[float]]:
    """Return the times in seconds, by name."""
    numbers = create(Client(gateway), count)
    times: dict[str, list[float]] = {"the gateway serves": [], f"all {count} kernels have answered": []}

    for _ in range(rounds):
        gateway.stop(signal.SIGKILL)
        began = time.perf_counter()
        gateway.start()
        times["the gateway serves"].append(time.perf_counter() - began)
        client = Client(gateway)
        for session, number in numbers.items():
            answer = client.ask("POST", f"/v1/sessions/{session}/exec", {"code": "number"})
            assert answer["output"].strip() == str(number), answer
        times[f"all {count} kernels have answered"].append(time.perf_counter() - began)
    return times


def report(times: dict[str, list[float]], count: int, rounds: int, load: float) -> str:
    """Return the table, the machine and the command, as Markdown."""
    lines = ["| milliseconds after the start of the new process | p50 | longest | mark |", "|---|--:|--:|--:|"]
    marks = [MARK, ""]
    lines += [
        f"| {name} | {percentile(values, 50)} | {percentile(values, 100)} | {mark} |"
        for (name, values), mark in zip(times.items(), marks, strict=True)
    ]
    command = f"    python -m bench.restart --sandboxes {count} --rounds {rounds}"
    return "\n".join([*lines, "", machine(load), "", command])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the report; with ``--write``, also write it into a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sandboxes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="a page with the markers of this table")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    config = CONFIG.format(options.sandboxes)
    with tempfile.TemporaryDirectory() as folder, GatewayProcess(Path(folder), config) as gateway:
        text = report(measure(gateway, options.sandboxes, options.rounds), options.sandboxes, options.rounds, load)
    print(text)
    if options.write:
        write(options.write, text, (BEGIN, END))


if __name__ == "__main__":
    main()
