"""A shell in a sandbox, as the tests run commands in it."""

from __future__ import annotations

from typing import Any

from tests.support.kernel_client import KernelSocket, Result


class BashSession:
    """A shell in a sandbox."""

    def __init__(self, socket: KernelSocket) -> None:
        self.socket = socket

    async def run(self, command: str, **options: Any) -> Result:
        return await self.socket.execute(command, **({"sandkasten": options} if options else {}))

    async def out(self, command: str, **options: Any) -> str:
        return (await self.run(command, **options)).stream()
