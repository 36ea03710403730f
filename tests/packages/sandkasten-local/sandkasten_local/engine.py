"""An engine that runs guests as plain processes of this machine. It isolates nothing: it is for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from sandkasten_kernels.engines import Arrival, Door, Engine, HostSandbox, Sandbox, SandboxSpec, Usage
from sandkasten_kernels.engines.host.cgroups import CgroupReader
from sandkasten_kernels.errors import EngineError, SandboxFailed

HELLO_SECONDS = 30


class LocalEngine(Engine):
    """Runs the guest of each sandbox as a child process, in a directory of its own below ``/tmp``."""

    def __init__(self, *, instance: str, run_dir: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.run_dir = run_dir
        self._cgroups = CgroupReader()
        self._guests: dict[str, asyncio.subprocess.Process] = {}

    async def setup(self, specs: list[SandboxSpec]) -> None:
        if unknown := {spec.image for spec in specs} - {"local"}:
            raise EngineError(f"the engine local has the image local alone, not {', '.join(sorted(unknown))}")
        self.log.info("sandboxes are processes without any isolation")

    async def cleanup(self) -> None:
        await asyncio.gather(*(self._end(name) for name in list(self._guests)))

    async def start(self, spec: SandboxSpec) -> Sandbox:
        name = uuid.uuid4().hex
        home = Path(tempfile.mkdtemp(prefix="sandkasten-local-"))
        (home / "workspace").mkdir()
        (home / "sockets").mkdir()
        door = Door(self.run_dir / name)
        (home / "door").symlink_to(door.directory)  # a socket's path is limited to 107 bytes
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sandkasten_kernels.guest", home / "sockets", home / "door" / "hello.sock",
            env={"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8",
                 "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        self._guests[str(home)] = process
        try:
            arrival = await self._arrival(door, process)
        except BaseException:
            await asyncio.shield(self._end(str(home)))
            raise
        finally:
            door.remove()
        return HostSandbox(name, spec, str(home), str(home / "workspace"), arrival=arrival)

    async def destroy(self, sandbox: Sandbox) -> None:
        sandbox.close()
        await self._end(sandbox.handle)

    async def usages(self, sandboxes: Sequence[Sandbox]) -> Mapping[str, Usage]:
        ours = [sandbox for sandbox in sandboxes if isinstance(sandbox, HostSandbox)]
        return await asyncio.to_thread(self._cgroups.read, ours)

    async def _arrival(self, door: Door, process: asyncio.subprocess.Process) -> Arrival:
        hello = self.tasks.awaited("hello of a guest", door.hello())
        death = self.tasks.awaited("end of a guest", process.wait())
        try:
            await asyncio.wait({hello, death}, timeout=HELLO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not hello.done():
                raise SandboxFailed("the guest said nothing")
            return hello.result()
        finally:
            hello.cancel()
            death.cancel()

    async def _end(self, home: str) -> None:
        """Kill a guest with all that it started, and remove its directory; one that was cancelled is done again."""
        process = self._guests.get(home)
        if process is None:
            return
        if process.returncode is None:
            guest = psutil.Process(process.pid)
            guest.suspend()
            children = guest.children(recursive=True)
            for child in children:
                child.kill()
            process.kill()
            await process.wait()
            await asyncio.to_thread(psutil.wait_procs, children)  # what still writes keeps its directory from going
        if self._guests.pop(home, None):
            shutil.rmtree(home)
