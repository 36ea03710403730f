"""An engine for the tests of the core: real guests and kernels, in namespaces of this host instead of containers.

A sandbox starts in half the time of a container. Sandboxes outlive the gateway and are adopted, workspaces are attached
as the docker engine attaches them, and a sandbox sees ``/workspace``, ``/tmp`` and its processes alone. It has no limit
of memory, processors or processes, no image, no network of its own and no protection: hostile code is not for it.
It needs root, as `tests.support.local_root` says.

``GatewayProcess(..., engine="local")`` is a gateway of it. The example for authors of engines, in
``tests/packages/sandkasten-local``, stands alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandkasten_kernels.engines import (
    Arrival,
    Door,
    Engine,
    HostSandbox,
    LeftSandbox,
    Sandbox,
    SandboxSpec,
    StoredWorkspace,
)
from sandkasten_kernels.engines.host.mounts import Helper, own_helper
from sandkasten_kernels.errors import EngineError, SandboxFailed

ROOT = Path(__file__).parents[2]
IMAGES = ("python", "base")
SANDBOX_UID = 10001
HELLO_SECONDS, HELLO_AGAIN_SECONDS = 30, 20


@dataclass
class _Guest:
    """A sandbox's first process; ``launcher`` is its parent, where this process has started it."""

    pid: int
    launcher: asyncio.subprocess.Process | None = None


class LocalEngine(Engine):
    """Runs the guest of each sandbox as process 1 of its own namespaces."""

    can_adopt = True

    def __init__(self, *, instance: str, run_dir: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.run_dir = run_dir
        self._homes = run_dir.parent / "sandboxes"
        self._guests: dict[str, _Guest] = {}
        self._helper: Helper | None = None
        parents = [parent for path in (sys.prefix, sys.base_prefix, ROOT) for parent in Path(path).parents]
        open_to_all = all(parent.stat().st_mode & 0o001 for parent in parents)
        self._uid = SANDBOX_UID if open_to_all else os.geteuid()

    async def setup(self, specs: list[SandboxSpec]) -> None:
        if unknown := {spec.image for spec in specs} - set(IMAGES):
            raise EngineError(f"the engine local has the images {', '.join(IMAGES)}, not {', '.join(sorted(unknown))}")
        if os.geteuid():
            raise EngineError("the engine local needs root, for namespaces and mounts")
        self._homes.mkdir(exist_ok=True)
        self._workspaces.mkdir(mode=0o700, exist_ok=True)
        for home in self._homes.iterdir():
            if home.name not in self.left:
                await self._end(home.name)
                self.swept += 1

    async def image_problem(self, image: str) -> str:
        return "" if image in IMAGES else f"there is no image {image}"

    async def cleanup(self) -> None:
        await asyncio.gather(*(self._end(name) for name in list(self._guests)))
        await self.leave()

    async def leave(self) -> None:
        self._guests.clear()
        if self._helper:
            self._helper.close()
            self._helper = None

    async def start(self, spec: SandboxSpec) -> Sandbox:
        name = uuid.uuid4().hex
        home = self._homes / name
        (home / "root").mkdir(parents=True)
        door = Door(self.run_dir / name)
        environment = {
            "HOME": "/home", "USER": "sandbox", "LANG": "C.UTF-8", "PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT / 'images' / 'python'}:{ROOT}", "SANDKASTEN_RUN_DIR": str(self.run_dir),
        }  # fmt: skip
        guest = [sys.executable, "-m", "sandkasten_kernels.guest", "/run/sandkasten", "/run/gateway/hello.sock"]
        with (home / "log").open("wb") as log:
            launcher = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-E", Path(__file__).with_name("local_root.py"), home, door.directory,
                str(self._uid), *guest, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=ROOT,
            )  # fmt: skip
        self._guests[name] = _Guest(0, launcher)
        try:
            arrival = await self._arrival(door, launcher, home)
        except BaseException:
            await asyncio.shield(self._end(name))
            raise
        self._guests[name].pid = pid = pid_of(arrival.pidfd)
        (home / "pid").write_text(str(pid))
        return HostSandbox(name, spec, f"{pid}", arrival=arrival)

    async def adopt(self, left: LeftSandbox) -> Sandbox:
        pid, home = int(left.handle), self._homes / left.id
        if not home.exists() or not is_guest(pid, self.run_dir):
            raise SandboxFailed("its sandbox ended while the gateway was away (killed)")
        door = Door(self.run_dir / left.id, again=True)
        hello = asyncio.create_task(door.hello_again(pid, left.key))
        try:
            os.kill(pid, signal.SIGHUP)
            arrival = await asyncio.wait_for(hello, HELLO_AGAIN_SECONDS)
        except (TimeoutError, ProcessLookupError) as error:
            raise SandboxFailed("the guest of its sandbox did not answer") from error
        finally:
            hello.cancel()
            door.shut()
        self._guests[left.id] = _Guest(pid)
        return HostSandbox(left.id, left.spec, left.handle, left.workspace, arrival=arrival)

    async def remove_left(self, left: LeftSandbox) -> None:
        await self._end(left.id)

    async def destroy(self, sandbox: Sandbox) -> None:
        sandbox.close()
        await self._end(sandbox.id)

    async def workspaces(self) -> list[StoredWorkspace]:
        found = sorted(path for path in self._workspaces.iterdir() if not path.name.startswith("."))
        return [StoredWorkspace(path.name, path.stat().st_mtime) for path in found]

    async def make_workspace(self, name: str) -> None:
        (self._workspaces / name / "data").mkdir(parents=True, exist_ok=True)
        await self._mounts.ask("own", name, timeout=None, uid=self._uid)

    async def attach(self, sandbox: Sandbox, workspace: str) -> bool:
        assert isinstance(sandbox, HostSandbox)
        await self._mounts.ask("attach", workspace, timeout=10.0, fd=sandbox.arrival.pidfd, uid=self._uid)
        return True

    async def remove_workspace(self, name: str) -> None:
        await self._mounts.ask("remove", name, timeout=None)

    async def workspace_size(self, name: str) -> tuple[int, bool]:
        counted = await self._mounts.ask("size", name, timeout=None)
        return int(counted["bytes"]), bool(counted["complete"])

    @property
    def _workspaces(self) -> Path:
        return self.workspaces_dir or self.run_dir.parent / "workspaces"

    @property
    def _mounts(self) -> Helper:
        """The product's own helper process for mounts."""
        if self._helper is None or not self._helper.alive:
            self._helper = own_helper(self._workspaces)
        return self._helper

    async def _arrival(self, door: Door, launcher: asyncio.subprocess.Process, home: Path) -> Arrival:
        hello, death = asyncio.create_task(door.hello()), asyncio.create_task(launcher.wait())
        try:
            await asyncio.wait({hello, death}, timeout=HELLO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not hello.done():
                raise SandboxFailed(f"the guest said nothing: {(home / 'log').read_text()[-2000:]}")
            return hello.result()
        finally:
            hello.cancel()
            death.cancel()

    async def _end(self, name: str) -> None:
        """Return when a guest is gone with all that it started, and with its directories; no-op when they are."""
        home, guest = self._homes / name, self._guests.get(name)
        pid = guest.pid if guest and guest.pid else pid_in(home)
        if pid and is_guest(pid, self.run_dir):
            await killed(pid)
        if guest and guest.launcher:
            if not guest.pid and guest.launcher.returncode is None:
                # It has not said hello, and may fork at this very moment: stopped, it forks no more.
                os.kill(guest.launcher.pid, signal.SIGSTOP)
                children = children_of(guest.launcher.pid)
                os.killpg(guest.launcher.pid, signal.SIGKILL)
                for child in children:
                    await killed(child)
            await guest.launcher.wait()
        self._guests.pop(name, None)
        for directory in (home, self.run_dir / name):
            if directory.exists():
                await asyncio.to_thread(shutil.rmtree, directory)


def pid_of(pidfd: int) -> int:
    """Return the process id behind a descriptor."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pid:")))


def pid_in(home: Path) -> int:
    """Return the process id that is written down in a sandbox's directory, or 0."""
    return int((home / "pid").read_text()) if (home / "pid").exists() else 0


def is_guest(pid: int, run_dir: Path) -> bool:
    """Whether a process is there and is a guest of this data directory: process ids are used again."""
    try:
        return f"SANDKASTEN_RUN_DIR={run_dir}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def killed(pid: int) -> None:
    """Kill a process; return when it has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
