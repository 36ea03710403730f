"""Progress: how much of a file has passed, as one line of a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

__all__ = ["ProgressBar"]

WIDTH = 30
LEAST_BYTES = 2**20
REDRAW_SECONDS = 0.1


class ProgressBar:
    """Draws a bar on stderr while it is called with what has passed, and takes it away at the end of the block.

    Nothing is drawn where stderr is no terminal, and for less than `LEAST_BYTES`.
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
        """Draw how much has passed, of how much where that is known."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < REDRAW_SECONDS or max(passed, total or 0) < LEAST_BYTES:
            return
        self._drawn = now
        print(f"\r{self._label}  {line(passed, total)}\x1b[K", end="", file=sys.stderr, flush=True)


def line(passed: int, total: int | None) -> str:
    """Return how far it is, in one line."""
    if not total:
        return f"{passed / 1e6:.1f} MB"
    done = min(1.0, passed / total)
    bar = "#" * round(WIDTH * done)
    return f"[{bar:-<{WIDTH}}] {done:4.0%}  {passed / 1e6:.1f} of {total / 1e6:.1f} MB"
