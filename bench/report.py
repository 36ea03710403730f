"""Shared by the benchmarks: percentiles, the description of the machine, and writing a report into a page."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sandkasten_kernels.engines.docker.connection import connect

__all__ = ["machine", "percentile", "write"]


def percentile(seconds: Sequence[float], percent: int) -> str:
    """Return the nearest-rank percentile in milliseconds."""
    value = 1000 * sorted(seconds)[math.ceil(percent / 100 * len(seconds)) - 1]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def machine(load: float) -> str:
    """Return the date, the machine and the versions. ``load``: the load average before the run."""
    model = next((x.split(":")[1] for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?")
    with contextlib.closing(connect()) as engine:
        engine_version = engine.version()["Version"]
    cores, kernel = len(os.sched_getaffinity(0)), platform.release().split("-")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {cores} cores ({model.strip()}), load {load:.2f} before,\n"
        f"Linux {kernel}, Docker {engine_version}, Python {platform.python_version()}, sandkasten-kernels\n"
        f"{version('sandkasten-kernels')}. The command:"
    )


def write(path: Path, text: str, markers: tuple[str, str]) -> None:
    """Replace the text between two markers of a file."""
    begin, end = markers
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
