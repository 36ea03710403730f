"""ipykernel as a sandbox needs it.

Its iopub socket waits for a reader that is behind instead of dropping messages, and its history, which ends with the
sandbox anyway, is kept in memory: on the small home directory a large cell would fill the disk.
"""

from __future__ import annotations

import sys
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp

#: Messages that may wait for the gateway before the kernel itself waits.
IOPUB_HIGH_WATER_MARK = 1000


class SandboxKernelApp(IPKernelApp):  # type: ignore[misc]
    """The kernel of the image ``python``."""

    name = "sandkasten-ipykernel"

    def initialize(self, argv: Any = None) -> None:
        self.config.HistoryManager.hist_file = ":memory:"
        super().initialize(argv)
        # python -P keeps a user's random.py out of the kernel's own imports; from here on the user's modules are wanted
        sys.path.insert(0, "")

    def _bind_socket(self, s: Any, port: int) -> Any:
        if s.type == zmq.XPUB:
            s.sndhwm = IOPUB_HIGH_WATER_MARK
            s.setsockopt(zmq.XPUB_NODROP, 1)
        return super()._bind_socket(s, port)


if __name__ == "__main__":
    SandboxKernelApp.launch_instance()
