"""Helper: the process that mounts workspaces (`mount_helper`): one with a single thread and the privileges for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...errors import EngineError

__all__ = ["SCRIPT", "Helper", "HelperError", "own_helper"]

SCRIPT = Path(__file__).with_name("mount_helper.py")


class HelperError(EngineError):
    """A request to the helper failed; ``errno`` is the error number."""

    def __init__(self, words: str, number: int) -> None:
        super().__init__(words)
        self.errno = number


class Helper:
    """The gateway's end of a helper process; the process ends when the socket closes.

    Parameters
    ----------
    link: a non-blocking SOCK_SEQPACKET socket to the helper.
    """

    def __init__(self, link: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self._link = link
        self._process = process
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.alive = True
        asyncio.get_running_loop().add_reader(link, self._receive)

    async def ask(
        self, do: str, name: str, *, fd: int | None = None, timeout: float | None, **more: Any
    ) -> dict[str, Any]:
        """Return the answer. Raises `HelperError`; `EngineError` if the helper ended, or after ``timeout`` (s)."""
        if not self.alive:
            raise EngineError("the helper for workspaces has ended")
        number = next(self._numbers)
        reply = self._asked[number] = asyncio.get_running_loop().create_future()
        request = json.dumps({"id": number, "do": do, "name": name, **more}).encode()
        try:
            socket.send_fds(self._link, [request], [] if fd is None else [fd])
            answer: dict[str, Any] = await asyncio.wait_for(reply, timeout)
        except TimeoutError as error:
            raise EngineError(f"workspace {name}: {do} did not end within {timeout:g} s") from error
        except OSError as error:
            raise EngineError(f"the helper for workspaces cannot be asked: {error.strerror}") from error
        finally:
            self._asked.pop(number, None)
        if "error" in answer:
            raise HelperError(f"workspace {name}: {do}: {answer['error']}", int(answer["errno"]))
        return answer

    def close(self) -> None:
        """End the helper, and fail the requests under way; a second call does nothing."""
        if not self.alive:
            return
        self.alive = False
        asyncio.get_running_loop().remove_reader(self._link)
        self._link.close()
        for reply in self._asked.values():
            if not reply.done():
                reply.set_exception(EngineError("the helper for workspaces has ended"))
        if self._process:
            self._process.wait()  # no long block: it exits at the end of the socket

    def _receive(self) -> None:
        try:
            data = self._link.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        answer = json.loads(data)
        if (reply := self._asked.get(answer["id"])) is not None and not reply.done():
            reply.set_result(answer)


def own_helper(root: Path) -> Helper:
    """Start a helper as a child process, for a gateway that runs as root."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            # Isolated: no PYTHON* variable and no site-packages get into a process of root's.
            [sys.executable, "-I", "-S", str(SCRIPT), str(root)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal must reach the gateway alone
            env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},  # mkfs.ext4 and mount are in sbin
        )
    ours.setblocking(False)
    return Helper(ours, process)
