"""Output of the commands: tables for people, JSON for programs, and errors in one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["one_line", "print_json", "print_table", "printable"]


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column heads, each column as wide as its widest cell; None and "" print as ``-``."""
    cells = [tuple(heads), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_json(values: Sequence[Any]) -> None:
    """Print dataclasses as one JSON array of objects."""
    print(json.dumps([dataclasses.asdict(value) for value in values], indent=2))


def printable(text: str) -> str:
    """Return ``text`` with a ``?`` for every character that could control a terminal or break the line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(error: BaseException) -> str:
    """Return the message of an error as one printable line; the name of its class where it has no message."""
    if isinstance(error, OSError) and error.filename is not None:
        return printable(f"{error.filename}: {error.strerror}")
    return printable(" ".join(str(error).split()) or type(error).__name__)


def _cell(value: object) -> str:
    return "-" if value in (None, "") else printable(str(value))
