"""Foreground: signals the programs in the foreground of bash's terminal, and repeats interrupts that reach none."""

from __future__ import annotations

import os
import signal
import time

AGAIN = 5
AGAIN_SECONDS = 0.02


class Foreground:
    """The process group in the foreground of a terminal.

    A loop such as ``until test -e x; do sleep .1; done`` runs one program after the other. An interrupt has no effect
    when the program is just ending, or was just forked by bash. So after `interrupt` the caller calls `look` a few
    times, when `due` says. `look` sends the interrupt again when another group is in the foreground, or when the same
    group still runs although SIGINT would have ended it.

    Parameters
    ----------
    master: descriptor of the terminal.
    shell: the process group of bash.
    """

    def __init__(self, master: int, shell: int) -> None:
        self._master = master
        self._shell = shell
        self._interrupted = 0
        self._looks = 0
        self._due = 0.0

    @property
    def due(self) -> float | None:
        """The time at which to call `look`, on the monotonic clock; None for never."""
        return self._due if self._looks else None

    @property
    def group(self) -> int:
        """The group in the foreground; bash's own group when the terminal is closed."""
        try:
            return os.tcgetpgrp(self._master)
        except OSError:
            return self._shell

    def interrupt(self) -> None:
        """Send SIGINT, and start to check its effect."""
        self._looks = AGAIN
        self._send()

    def look(self) -> None:
        """Send SIGINT again if it had no effect."""
        if not self._looks or time.monotonic() < self._due:
            return
        self._looks -= 1
        group = self.group
        if group != self._interrupted or (group != self._shell and _dies_of_interrupt(group)):
            self._send()
        self._due = time.monotonic() + AGAIN_SECONDS

    def settle(self) -> None:
        """Stop checking: the command has ended."""
        self._looks = 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the group."""
        _kill(self.group, number)

    def kill_all(self) -> None:
        """Kill the group, and bash's own group."""
        for group in (self.group, self._shell):
            _kill(group, signal.SIGKILL)

    def _send(self) -> None:
        self._interrupted = self.group
        self._due = time.monotonic() + AGAIN_SECONDS
        _kill(self._interrupted, signal.SIGINT)


def _kill(group: int, number: signal.Signals) -> None:
    try:
        if group:  # 0 means the group of the guest itself
            os.killpg(group, number)
    except OSError:  # it has just ended
        pass


def _dies_of_interrupt(pid: int) -> bool:
    """Return whether a process runs and SIGINT would end it: it then has received none since its program started."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            fields = dict(line.split(b":\t", 1) for line in file)
    except (OSError, ValueError):
        return False
    masks = (int(fields.get(name, b"0"), 16) for name in (b"SigCgt", b"SigIgn", b"SigBlk"))
    return fields.get(b"State", b"Z")[:1] in b"RSD" and not any(mask >> (signal.SIGINT - 1) & 1 for mask in masks)
