"""Commands of the program, run in this process."""

from __future__ import annotations

import signal
from typing import NamedTuple

import pytest

from sandkasten_kernels.cli.commands import main


class Ran(NamedTuple):
    """What a command gave."""

    code: object
    out: str
    err: str


class CommandShell:
    """Runs commands in this process, in a directory of the test's own, with the shared gateway as the user's."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, command: str, *arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([command, *arguments])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return Ran(ended.value.code, *self._capfd.readouterr())
