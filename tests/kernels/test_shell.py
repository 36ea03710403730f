"""The shell beside a python kernel, through the gateway's own classes: neither depends on the other."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines import SandboxSpec
from sandkasten_kernels.engines.docker.engine import DockerEngine
from sandkasten_kernels.kernels.kernel import Kernel, KernelState
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs
from sandkasten_kernels.protocol.messages import Parts, build, json_object, message_type
from sandkasten_kernels.relay.calls import LinkError
from sandkasten_kernels.relay.link import KernelLink

pytestmark = pytest.mark.local


class Asker:
    """A client that asks one thing and keeps what is written."""

    def __init__(self) -> None:
        self.text = ""
        self._replied: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(self, channel: str, parts: Parts) -> None:
        if message_type(parts) == "stream":
            self.text += str(json_object(parts[3])["text"])
        elif channel == "shell":
            self._replied.set_result(None)

    def end(self, reason: str) -> None:
        """Nothing to close."""

    async def ask(self, link: KernelLink, code: str) -> str:
        """Return what a command or a cell writes."""
        link.attach(self)
        content = {"code": code, "silent": False, "allow_stdin": False}
        await link.send(self, "shell", build("execute_request", content, "asker")[1])
        await self._replied
        link.detach(self)
        return self.text


@pytest.fixture
async def kernel(folder: Path) -> AsyncIterator[Kernel]:
    """A python kernel with an owner's variable and directory, in a sandbox of its own."""
    engine = DockerEngine(instance=f"shell-{os.getpid()}", run_dir=folder)
    await engine.setup([SandboxSpec("python")])
    sandbox = await engine.start(SandboxSpec("python"))
    kernel = Kernel(sandbox, Kernelspecs().get(), log := logging.getLogger("test"), BackgroundTasks(log))
    try:
        await kernel.start()
        await kernel.prepare({"KERNEL_COLOUR": "it's blue"}, "/tmp")
        yield kernel
    finally:
        kernel.close("the test is over")
        await engine.destroy(sandbox)
        await engine.cleanup()


async def run(link: KernelLink, code: str, **options: Any) -> Mapping[str, Any]:
    """Return the reply to a command of the shell's or a cell of the kernel's."""
    content = {"code": code, "silent": False, "sandkasten": options}
    return (await link.call("shell", "execute_request", content, 60)).content


async def test_the_shell_and_the_kernel_of_a_sandbox_do_not_depend_on_each_other(kernel: Kernel) -> None:
    shell = await kernel.shell()
    assert shell is await kernel.shell()
    assert (await run(shell, '[ "$KERNEL_COLOUR" = "it\'s blue" ] && [ "$PWD" = /tmp ]'))["exit_code"] == 0
    cell = asyncio.ensure_future(
        run(kernel.link, "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(.01)")
    )
    assert (await run(shell, "A=kept; cd /usr; ls /workspace"))["exit_code"] == 0
    assert not cell.done()
    await run(shell, "touch /tmp/go")
    assert (await cell)["status"] == "ok"

    await kernel.restart()
    assert (await run(shell, '[ "$A $PWD" = "kept /usr" ]'))["exit_code"] == 0

    assert (await run(kernel.link, "B = 1"))["status"] == "ok"
    assert (await run(shell, "kill -9 $$"))["restarted"]
    assert (await run(kernel.link, "assert B == 1"))["status"] == "ok"
    assert (await run(shell, "kill -0 1; echo fine"))["exit_code"] == 0
    assert kernel.state is KernelState.READY


async def test_a_cells_hands_on_the_guests_sockets_do_not_keep_the_shell_away(kernel: Kernel) -> None:
    code = "import os\nfor e in os.scandir('/run/sandkasten'): os.unlink(e.path)\n"
    code += "os.symlink('/run/gateway', '/run/sandkasten/guest-shell')"
    assert (await run(kernel.link, code))["status"] == "ok"
    shell = await kernel.shell()
    assert (await run(shell, "true"))["exit_code"] == 0
    assert (await run(kernel.link, "1"))["status"] == "ok"


async def test_the_shell_is_closed_with_its_kernel_and_a_lost_one_is_opened_again(kernel: Kernel) -> None:
    shell = await kernel.shell()
    command = asyncio.ensure_future(run(shell, "sleep 60"))
    await asyncio.sleep(0)
    kernel.close("ended")
    with pytest.raises(LinkError, match="ended"):
        await command
    with pytest.raises(LinkError):
        await kernel.shell()


async def test_pip_without_a_network_says_what_can_be_done_and_does_not_try_again(kernel: Kernel) -> None:
    shell = await kernel.shell()
    for link, code in ((shell, "pip"), (shell, "python -m pip"), (kernel.link, "%pip"), (kernel.link, "!pip")):
        said = await Asker().ask(link, f"{code} install polars")
        assert "images: {science: {from: python, pip: [polars]}}" in said, code
        assert "sandkasten-kernels images build science" in said
        assert "network_mode: bridge" in said
        assert "Retrying" not in said
    assert "no network" not in await Asker().ask(shell, "pip --version; pip list; pip uninstall --yes nothing")


def test_pip_is_left_alone_where_there_is_a_network() -> None:
    code = "import sandkasten_pip; print(sandkasten_pip.has_network())"
    for network, expected in (("none", "False"), ("bridge", "True")):
        command = ["docker", "run", "--rm", "--network", network, "--entrypoint", "python", "sandbox-runtime:python"]
        found = subprocess.run([*command, "-c", code], check=True, capture_output=True, text=True)
        assert found.stdout.strip() == expected
