"""Finding: the result of one check of the doctor or of an engine."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Level", "ok", "problem", "warning"]


class Level(enum.Enum):
    """Severity: with a problem a gateway does not work, or not safely; with a warning it does."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """`saw` states the fact about `subject`; `advice` is the way out, empty only for `Level.OK`."""

    level: Level
    subject: str
    saw: str
    advice: str = ""


def ok(subject: str, saw: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(Level.OK, subject, saw)


def warning(subject: str, saw: str, advice: str) -> Finding:
    """Return a finding with which a gateway still works."""
    return Finding(Level.WARNING, subject, saw, advice)


def problem(subject: str, saw: str, advice: str) -> Finding:
    """Return a finding that the operator must fix."""
    return Finding(Level.PROBLEM, subject, saw, advice)
