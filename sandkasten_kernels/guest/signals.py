"""Signals: SIGCHLD for a child that has ended, SIGHUP for a gateway that wants a hello, SIGTERM for the end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator


class Signals:
    """Makes `fileno` readable when a signal arrives. SIGTERM ends the guest at once."""

    def __init__(self) -> None:
        self._wakeup, self._writer = socket.socketpair()
        self._wakeup.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._wakeup.fileno()

    def hung_up(self) -> bool:
        """Read the signals of `fileno`, which must be readable; return whether SIGHUP was one of them."""
        return signal.SIGHUP in self._wakeup.recv(4096)

    def ended_children(self) -> Iterator[tuple[int, int]]:
        """Yield the process id and the wait status of each child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            yield pid, status
