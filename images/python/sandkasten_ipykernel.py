"""SandboxKernelApp: ipykernel for a sandbox.

Its iopub socket waits for a slow reader instead of dropping messages. Its history stays in memory: it ends with the
sandbox anyway, and a large cell would fill the small home directory.
"""

from __future__ import annotations

import sys
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp

#: How many messages may wait for the gateway; above that, the kernel itself waits.
IOPUB_HIGH_WATER_MARK = 1000


class SandboxKernelApp(IPKernelApp):  # type: ignore[misc]
    """The kernel of the image ``python``."""

    name = "sandkasten-ipykernel"

    def initialize(self, argv: Any = None) -> None:
        self.config.HistoryManager.hist_file = ":memory:"
        super().initialize(argv)
        # python -P keeps a user's random.py out of the kernel's own imports. The user's code imports it again.
        sys.path.insert(0, "")

    def _bind_socket(self, s: Any, port: int) -> Any:
        if s.type == zmq.XPUB:
            s.sndhwm = IOPUB_HIGH_WATER_MARK
            s.setsockopt(zmq.XPUB_NODROP, 1)
        return super()._bind_socket(s, port)


if __name__ == "__main__":
    SandboxKernelApp.launch_instance()
