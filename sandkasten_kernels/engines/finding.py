"""What one check of the doctor's has found."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Level", "ok", "problem", "warning"]


class Level(enum.Enum):
    """How bad it is: a gateway does not work, or not safely, with a problem; it does with a warning."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """`saw` is what was found about `subject`; `advice` what to do, empty only where all is well."""

    level: Level
    subject: str
    saw: str
    advice: str = ""


def ok(subject: str, saw: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, subject, saw)


def warning(subject: str, saw: str, advice: str) -> Finding:
    """Return a finding that a gateway can live with."""
    return Finding(Level.WARNING, subject, saw, advice)


def problem(subject: str, saw: str, advice: str) -> Finding:
    """Return a finding that has to be mended."""
    return Finding(Level.PROBLEM, subject, saw, advice)
