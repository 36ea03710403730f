"""ProgressBar: the progress of a transfer, drawn as one line of the terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

__all__ = ["ProgressBar", "line"]

WIDTH = 30
LEAST_BYTES = 2**20
REDRAW_SECONDS = 0.1


class ProgressBar:
    """Draw a bar on stderr each time it is called, at most ten times a second, and erase it at the end of the block.

    Nothing is drawn if stderr is not a terminal, or for transfers below `LEAST_BYTES`.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._drawn = 0.0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, passed: int, total: int | None) -> None:
        """Draw the number of bytes transferred, with the share of ``total`` unless that is None."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < REDRAW_SECONDS or max(passed, total or 0) < LEAST_BYTES:
            return
        self._drawn = now
        print(f"\r{self._label}  {line(passed, total)}\x1b[K", end="", file=sys.stderr, flush=True)


def line(passed: int, total: int | None) -> str:
    """Return the progress as one line: a bar with percentage and MB, or MB alone if ``total`` is None or 0."""
    if not total:
        return f"{passed / 1e6:.1f} MB"
    done = min(1.0, passed / total)
    bar = "#" * round(WIDTH * done)
    return f"[{bar:-<{WIDTH}}] {done:4.0%}  {passed / 1e6:.1f} of {total / 1e6:.1f} MB"
