"""The program of the guest: ``python -m sandkasten_guest [SOCKETS_DIRECTORY DOOR]``."""

from __future__ import annotations

import ctypes
import os
import sys

from .door import announce
from .guest import Guest
from .signals import Signals
from .sockets import Sockets
from .wire import Wire

PR_SET_DUMPABLE = 4


def furnish(home: str, skeleton: str = "/etc/skel") -> None:
    """Copy ``skeleton`` into the home directory, which is an empty tmpfs in a new sandbox."""
    for folder, _, names in os.walk(skeleton):
        target = os.path.join(home, os.path.relpath(folder, skeleton))
        os.makedirs(target, exist_ok=True)
        for name in names:
            with open(os.path.join(folder, name), "rb") as source:
                with open(os.path.join(target, name), "wb") as copy:
                    copy.write(source.read())


def main() -> None:
    """Run the guest until SIGTERM."""
    directory, door = sys.argv[1:3] if len(sys.argv) > 2 else ("/run/sandkasten", "/run/gateway/hello.sock")
    # Code of the same uid could read and write the memory of a dumpable process, with its key.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getpid() == 1:
        furnish(os.environ["HOME"])
    signals, sockets = Signals(), Sockets(directory)
    key = announce(door, directory)
    Guest(directory, door, sockets, signals, Wire(key)).run()


if __name__ == "__main__":
    main()
