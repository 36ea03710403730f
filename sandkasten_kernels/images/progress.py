"""BuildProgress: the lines that a user reads during a build, and the error of a failed one."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ImageBuildError

__all__ = ["BuildProgress", "Report", "shortened"]

Report = Callable[[str], None]
"""Called with each line of progress."""

_STEP = re.compile(r"Step (\d+/\d+) : (.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REPORTED = ("Collecting ", "Installing collected", "Successfully installed", "Setting up ")
_ADVICE = (
    (r"No space left", "the engine's disk is full: make room (`docker system df` shows what can go) and repeat"),
    (r"no matching manifest|exec format error", "the base image is of another processor: name one of this machine's"),
    (
        r"Unable to locate package|has no installation candidate|Couldn't find any package",
        "the image's release has no package of that name: look for it with `apt-cache search` or on "
        "packages.debian.org, and mend `apt` in the configuration",
    ),
    (
        r"Temporary failure resolving|Could not resolve|Could not connect|Failed to fetch|Unable to connect",
        "apt must reach the package archive: see this machine's /etc/apt/sources.list* and its proxy "
        "(`apt-config dump | grep -i proxy`, http_proxy)",
    ),
    (
        r"SSL|certificate",
        "the index's certificate is not trusted: name its bundle with `pip config set global.cert`",
    ),
    (
        r"NewConnectionError|name resolution|ConnectionError|timed out",
        "pip must reach a package index: see `python -m pip config list` (index-url, proxy)",
    ),
    (
        r"No matching distribution|Could not find a version",
        "pip finds no wheel of that name and version for this image's Python (packages are installed from wheels "
        "only), or does not reach the index it is in: see `python -m pip config list` (index-url, proxy)",
    ),
    (r"ResolutionImpossible|conflicting dependencies", "the packages do not go together: loosen their versions"),
)


class BuildProgress:
    """Turns events of the builder into lines of progress, and its failure into an `ImageBuildError`.

    Parameters
    ----------
    name: short name of the image, with which each line begins.
    reference: its full name, for the error.
    """

    def __init__(self, name: str, reference: str, report: Report) -> None:
        self._name = name
        self._reference = reference
        self._report = report
        self._started = time.monotonic()
        self._step = "the first step"
        self._tail: deque[str] = deque(maxlen=15)

    @property
    def seconds(self) -> float:
        """Seconds since the start of the build."""
        return time.monotonic() - self._started

    def feed(self, event: Mapping[str, Any]) -> None:
        """Handle one event of the builder. Raises `ImageBuildError` for a failure."""
        if "error" in event:
            raise self.failure(str(event["error"]))
        for line in event.get("stream", "").splitlines():
            self.line(line)

    def line(self, text: str) -> None:
        """Handle one line of output; `Step 1/4 : ...` begins a step."""
        text = _COLOUR.sub("", text)
        if step := _STEP.match(text):
            self._step = f"{step[1]} {step[2].strip()}"
            self._tail.clear()
            self._report(f"  {self._name} {self.seconds:5.1f} s  {shortened(self._step)}")
        elif text.strip():
            self._tail.append(shortened(text.rstrip(), 500))
            if text.startswith(_REPORTED):
                self._report(f"  {self._name}           {shortened(text)}")

    def failure(self, error: str) -> ImageBuildError:
        """Return the error, with the step, its last lines and the way out."""
        output = "\n".join((*self._tail, error))
        # The first match counts, so the order of `_ADVICE` decides.
        known = (words for pattern, words in _ADVICE if re.search(pattern, output, re.IGNORECASE))
        advice = next(known, "mend what it says and repeat `sandkasten-kernels images build`")
        indented = "\n".join(f"    {line}" for line in (*self._tail, error))
        return ImageBuildError(
            f"building {self._reference} failed at step {shortened(self._step)}:\n{indented}\n{advice}"
        )


def shortened(text: str, limit: int = 100) -> str:
    """Return `text` in one line of at most `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
