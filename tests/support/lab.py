"""JupyterLab's server in a process of its own, and the WebSocket of its page."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from tornado.websocket import websocket_connect

from tests.support.gateway_process import START_SECONDS, STOP_SECONDS
from tests.support.kernel_client import PATIENCE_SECONDS, KernelSocket
from tests.support.waiting import eventually_blocking


class LabServer:
    """JupyterLab's server in a process of its own, which takes its kernels from a gateway."""

    def __init__(self, folder: Path, gateway_url: str, gateway_token: str) -> None:
        self.token = uuid.uuid4().hex
        self.url = ""
        self.log = folder / "server.log"
        self._runtime = folder / "runtime"
        notebooks = folder / "notebooks"
        notebooks.mkdir()
        self._command = [
            sys.executable, "-m", "jupyter_server", f"--gateway-url={gateway_url}", f"--ServerApp.root_dir={notebooks}",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--ServerApp.open_browser=False", "--allow-root",
        ]  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KERNEL_"))}
        self._env = {
            **inherited,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "JUPYTER_GATEWAY_AUTH_TOKEN": gateway_token,
            "JUPYTER_TOKEN": self.token,
            "KERNEL_COURSE": "physics",
        }

    def __enter__(self) -> LabServer:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)
        info = self._runtime / f"jpserver-{self.process.pid}.json"
        eventually_blocking(
            lambda: self.process.poll() is not None or (info.exists() and info.read_text().endswith("}")),
            seconds=START_SECONDS,
        )
        assert self.process.poll() is None, f"the server did not start:\n{self.log.read_text()}"
        self.url = f"http://127.0.0.1:{json.loads(info.read_text())['port']}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(STOP_SECONDS)

    async def __aenter__(self) -> LabServer:
        """Start it while the loop goes on: what it reaches the gateway through may run there."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, tb)


class LabSocket(KernelSocket):
    """A WebSocket as JupyterLab opens it through a gateway: legacy framing, and every field that Lab sends."""

    @classmethod
    async def open(cls, url: str, token: str, kernel_id: str) -> LabSocket:
        """Connect to the channels of a kernel with the token in the URL, as a browser does."""
        session = uuid.uuid4().hex
        path = f"/api/kernels/{kernel_id}/channels?session_id={session}&token={token}"
        connecting = websocket_connect(url.replace("http", "ws", 1) + path, max_message_size=1 << 30)
        lab = cls(await asyncio.wait_for(connecting, PATIENCE_SECONDS), v1=False)
        lab.session = session
        return lab

    async def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        channel: str = "shell",
        buffers: tuple[bytes, ...] = (),
        **header: Any,
    ) -> str:
        assert not buffers
        msg_id = str(uuid.uuid4())
        full = {
            "date": "2026-01-31T12:00:00.000Z", "msg_id": msg_id, "msg_type": msg_type, "session": self.session,
            "username": "", "version": "5.2", **header,
        }  # fmt: skip
        message = {
            "buffers": [], "channel": channel, "content": content, "header": full, "parent_header": {},
            "metadata": {"cellId": str(uuid.uuid4()), "deletedCells": [], "recordTiming": False},
        }  # fmt: skip
        await self.socket.write_message(json.dumps(message))
        return msg_id
