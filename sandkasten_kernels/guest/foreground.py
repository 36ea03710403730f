"""What runs in the foreground of bash's terminal: signals for it, and interrupts that are not lost between programs."""

from __future__ import annotations

import os
import signal
import time

AGAIN = 5
AGAIN_SECONDS = 0.02


class Foreground:
    """The process group in the foreground of a terminal; ``shell`` is the group of the bash that has it.

    A loop such as ``until test -e x; do sleep .1; done`` is a row of programs. An interrupt that meets one which is
    just ending, or which bash has just forked, stops nobody. So `interrupt` is followed by a few looks, at the time
    `due` says: where another group has taken the foreground, or the same lives on although SIGINT would have ended it,
    the interrupt is sent again.
    """

    def __init__(self, master: int, shell: int) -> None:
        self._master = master
        self._shell = shell
        self._interrupted = 0
        self._looks = 0
        self._due = 0.0

    @property
    def due(self) -> float | None:
        """When `look` is to be called, on the monotonic clock; None for never."""
        return self._due if self._looks else None

    @property
    def group(self) -> int:
        """The group in the foreground; bash's own where the terminal is gone."""
        try:
            return os.tcgetpgrp(self._master)
        except OSError:
            return self._shell

    def interrupt(self) -> None:
        """Send SIGINT, and begin to look after it."""
        self._looks = AGAIN
        self._send()

    def look(self) -> None:
        """Send SIGINT again where it met nobody."""
        if not self._looks or time.monotonic() < self._due:
            return
        self._looks -= 1
        group = self.group
        if group != self._interrupted or (group != self._shell and _dies_of_interrupt(group)):
            self._send()
        self._due = time.monotonic() + AGAIN_SECONDS

    def settle(self) -> None:
        """Look no more: what was interrupted has ended."""
        self._looks = 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of the group."""
        _kill(self.group, number)

    def kill_all(self) -> None:
        """Kill the group, and bash with its own."""
        for group in (self.group, self._shell):
            _kill(group, signal.SIGKILL)

    def _send(self) -> None:
        self._interrupted = self.group
        self._due = time.monotonic() + AGAIN_SECONDS
        _kill(self._interrupted, signal.SIGINT)


def _kill(group: int, number: signal.Signals) -> None:
    try:
        if group:  # 0 would be the guest's own
            os.killpg(group, number)
    except OSError:  # it has just ended
        pass


def _dies_of_interrupt(pid: int) -> bool:
    """Whether a process lives and takes SIGINT as it comes: then it has had none since its program began."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            fields = dict(line.split(b":\t", 1) for line in file)
    except (OSError, ValueError):
        return False
    masks = (int(fields.get(name, b"0"), 16) for name in (b"SigCgt", b"SigIgn", b"SigBlk"))
    return fields.get(b"State", b"Z")[:1] in b"RSD" and not any(mask >> (signal.SIGINT - 1) & 1 for mask in masks)
