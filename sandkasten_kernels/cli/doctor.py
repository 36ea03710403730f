"""``sandkasten-kernels doctor``: whether a gateway would run well here, and what to do where not."""

from __future__ import annotations

import asyncio
import collections
import sys
from typing import cast

from traitlets.config import Application

from ..config.application import ConfiguredApp
from ..config.settings import Settings
from ..doctor.doctor import examine
from ..engines.finding import Finding, Level
from ..errors import ConfigError

__all__ = ["DoctorApp"]


class DoctorApp(Application):
    """Checks engine, images, permissions, kernel, versions with known escapes, disk and memory for the gateway of this
    configuration: `doctor`, with the options of `serve`. Exits with 1 when there is a problem."""

    name = "sandkasten-kernels doctor"
    description = __doc__ or ""
    examples = "sandkasten-kernels doctor --config=sandkasten.yaml"

    def initialize(self, argv: list[str] | None = None) -> None:
        """Keep the options: they are the gateway's own."""
        self._options = list(argv or [])
        if {"-h", "--help", "--help-all"}.intersection(self._options):
            super().initialize(["--help"])

    def start(self) -> None:
        """Print a line for each check, and what to do below those that are not well."""
        gateway = cast(ConfiguredApp, self.parent)
        try:
            found = gateway.settings_of(self._options)
            gateway.update_config(found.config)
            settings: Settings | ConfigError = found
        except ConfigError as error:
            settings = error
        sys.exit(asyncio.run(_print_findings(gateway, settings)))


async def _print_findings(gateway: ConfiguredApp, settings: Settings | ConfigError) -> int:
    """Print each finding as it comes; return the exit code."""
    counts: collections.Counter[Level] = collections.Counter()
    async for finding in examine(gateway, settings):
        counts[finding.level] += 1
        _print(finding)
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    print(f"problems: {problems}, warnings: {warnings}, ok: {counts[Level.OK]}")
    return 1 if problems else 0


def _print(finding: Finding) -> None:
    print(f"{finding.level.value:8} {finding.subject}: {finding.saw}", flush=True)
    if finding.advice:
        print(f"{'':8} -> {finding.advice}", flush=True)
