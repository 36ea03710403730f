"""``sandkasten-kernels doctor``: checks whether a gateway would run well on this machine."""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator

from ..config import SECTIONS, Settings, command_line_settings
from ..doctor import examine
from ..engines import Finding, Level
from ..errors import ConfigError
from .settings import SettingsCommand, option_values

__all__ = ["DoctorCommand"]


class DoctorCommand(SettingsCommand):
    """Checks this machine for a gateway with this configuration: engine, images, permissions, kernel, versions with
    known escapes, disk and memory. It says how to mend each problem, and exits with 1 if there is one."""

    examples = "  sandkasten-kernels doctor --config=sandkasten.yaml"

    def run(self, options: argparse.Namespace) -> int:
        try:
            configuration = self.load(options)
        except ConfigError as error:
            return asyncio.run(_print_findings(examine(_readable(options), "", error)))
        file = configuration.file.path
        findings = examine(configuration.settings, str(file) if file.exists() else "")
        return asyncio.run(_print_findings(findings))


def _readable(options: argparse.Namespace) -> Settings:
    """Return the settings of the command line alone, or the defaults where it is wrong as well."""
    with contextlib.suppress(ConfigError):
        return command_line_settings(option_values(options), SECTIONS)
    return Settings(SECTIONS)


async def _print_findings(findings: AsyncIterator[Finding]) -> int:
    """Print each finding as soon as it is made, and return the exit code."""
    counts: collections.Counter[Level] = collections.Counter()
    async for finding in findings:
        counts[finding.level] += 1
        _print(finding)
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    print(f"problems: {problems}, warnings: {warnings}, ok: {counts[Level.OK]}")
    return 1 if problems else 0


def _print(finding: Finding) -> None:
    print(f"{finding.level.value:8} {finding.subject}: {finding.saw}", flush=True)
    if finding.advice:
        print(f"{'':8} -> {finding.advice}", flush=True)
