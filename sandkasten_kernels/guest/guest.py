"""Guest: the event loop. It serves the gateway's requests, reaps child processes, and drives kernel and shell.

Requests arrive on the control socket as Jupyter messages, signed with the guest's key:

=========================== ==================================== ==========================================
request                     content                              reply (``status``: ok or error, ``evalue``)
=========================== ==================================== ==========================================
``kernel_info_request``                                          ``protocol``, ``implementation``
``kernel_start_request``    ``argv env cwd key deadline``        ``pid generation sockets``, once all exist
``kernel_restart_request``  the same and ``grace``               the same; the old kernel gets ``grace`` s to end
``kernel_signal_request``   ``signum``
``shell_restart_request``                                        bash is killed; the next command starts a new one
``interrupt_request``       ``msg_id``                           SIGINT to the shell's foreground; with ``msg_id``
                                                                 stops that request alone, running or waiting
``sockets_request``                                              ``sockets``: the guest's own; recreates missing ones
``remember_request``        ``note``                             keeps an object for the next gateway process
``recall_request``                                               ``note``, ``state pid cwd kernel_cwd``
``relief_request``          ``marker end``                       ``more``; data: a piece of the backlog
=========================== ==================================== ==========================================

`files` lists the requests about files; their data is a frame behind the content, in request and reply.

The shell socket is the one of a Jupyter kernel for bash.

On iopub the guest publishes ``kernel_died`` with the content of a `Death`, unless a restart was requested.

When the last subscriber of iopub disconnects, the gateway is away. Until it has sent ``relief_request`` and got the
last piece, the guest keeps its own messages, and a `Placeholder` with the note's ``identity`` receives the kernel's. On
SIGHUP the guest says hello at the door again.
"""

from __future__ import annotations

import os
from typing import Any

import zmq

from . import PROTOCOL
from .absence import GatewayAbsence
from .bash_kernel import BashKernel
from .child_process import directory_of
from .door import announce_again
from .files import FileService
from .publisher import Publisher
from .shell import Shell
from .signals import Signals
from .sockets import Sockets
from .supervisor import KernelPhase, KernelSupervisor
from .wire import Request, Wire


class Guest:
    """Serves one gateway after the other.

    Parameters
    ----------
    directory: the directory of ``sockets``.
    door: path of the gateway's listening socket.
    wire: has the key that the gateway sent in answer to the first hello.
    """

    def __init__(self, directory: str, door: str, sockets: Sockets, signals: Signals, wire: Wire) -> None:
        self._directory = directory
        self._door = door
        self._sockets = sockets
        self._signals = signals
        self._wire = wire
        self._absence = GatewayAbsence(sockets)
        self._outbox = Publisher(sockets, self._absence, wire)
        self._supervisor = KernelSupervisor(directory, sockets.tidy, self._outbox.reply, self._outbox.publish)
        shell = Shell("/workspace", dict(os.environ))
        self._bash = BashKernel(shell, self._outbox.publish, self._outbox.reply_on_shell)
        self._files = FileService("/workspace")

    def run(self) -> None:
        """Serve until the process ends."""
        control, shell_channel = self._sockets.control, self._sockets.shell
        stdin, iopub = self._sockets.stdin, self._sockets.iopub
        shell, life = self._bash.shell, self._supervisor
        wakeup = self._signals.fileno()  # zmq.select returns plain descriptors as int
        while True:
            flowing = self._outbox.flowing
            stderr = life.kernel.stderr_fd if life.kernel else -1
            sources: list[Any] = [control, iopub, stdin, wakeup]
            sources += [shell_channel, *shell.readable()] if flowing else []
            sources += [stderr] if stderr >= 0 else []
            waiting: list[Any] = [] if self._absence.away else [iopub]
            sinks: list[Any] = shell.writable() if flowing else waiting
            readable, writable, _ = zmq.select(sources, sinks, [], self._patience())
            if iopub in writable:
                self._outbox.flush()
            for fd in {*readable, *writable}:
                if isinstance(fd, int) and fd not in (stderr, wakeup) and fd in {*shell.readable(), *shell.writable()}:
                    shell.ready(fd)
            if stderr in readable and life.kernel:
                life.kernel.read_stderr()
            if wakeup in readable and self._signals.hung_up():
                self._announce_again()
            for pid, status in self._signals.ended_children():
                if not life.ended(pid, status) and pid == shell.pid:
                    shell.ended(status)
            if control in readable:
                self._serve(control.recv_multipart())
            if iopub in readable and iopub.recv_multipart()[0] == b"\0":
                self._absence.begin(life.name if life.state is KernelPhase.RUNNING else "")
            if stdin in readable:
                stdin.recv_multipart()
            if shell_channel in readable:
                request = self._wire.unpack(shell_channel.recv_multipart())
                if request:
                    self._bash.receive(request)
            shell.tick()
            life.tick()

    def _patience(self) -> float | None:
        waits = (self._bash.shell.patience(), self._supervisor.patience())
        return min((wait for wait in waits if wait is not None), default=None)

    def _serve(self, frames: list[bytes]) -> None:
        request = self._wire.unpack(frames)
        if request is None:
            return
        reply, kernel = self._outbox.reply, self._supervisor.kernel
        if request.msg_type == "kernel_info_request":
            reply(request, {"status": "ok", "protocol": PROTOCOL, "implementation": "sandkasten-guest"})
            self._outbox.prove(request)
        elif request.msg_type == "remember_request":
            self._absence.note = dict(request.content["note"])
            reply(request, {"status": "ok"})
        elif request.msg_type == "recall_request":
            reply(request, {"status": "ok", **self._recall()})
        elif request.msg_type == "relief_request":
            self._send_backlog(request)
        elif request.msg_type == "kernel_signal_request":
            if kernel:
                kernel.signal(request.content["signum"])
            reply(request, {"status": "ok"} if kernel else _error("no kernel runs"))
        elif request.msg_type == "interrupt_request":
            msg_id = request.content.get("msg_id")
            self._bash.stop(msg_id) if msg_id else self._bash.shell.interrupt()
            reply(request, {"status": "ok"})
        elif request.msg_type == "sockets_request":
            self._name_sockets(request)
        elif request.msg_type == "shell_restart_request":
            self._bash.restart()
            reply(request, {"status": "ok"})
        elif self._supervisor.take(request):
            return
        elif found := self._files.answer(request.msg_type.removesuffix("_request"), request.content, request.data):
            reply(request, *found)
        else:
            reply(
                request, _error(f"{request.msg_type} is not allowed while the kernel is {self._supervisor.state.name}")
            )

    def _recall(self) -> dict[str, Any]:
        life = self._supervisor
        here = {"cwd": self._bash.shell.cwd, "kernel_cwd": directory_of(life.pid)}
        return {"note": self._absence.note, "state": life.state.name, "pid": life.pid, **here}

    def _send_backlog(self, request: Request) -> None:
        """Send the gateway the next piece of the backlog; after the last one, the messages of the guest itself."""
        data, more = self._absence.piece(request.content)
        self._outbox.reply(request, {"status": "ok", "more": more}, data)
        if not more:
            self._outbox.release()

    def _announce_again(self) -> None:
        try:
            names = self._sockets.names(self._supervisor.name)
        except (OSError, zmq.ZMQError):
            names = {}
        announce_again(self._door, self._directory, names)

    def _name_sockets(self, request: Request) -> None:
        try:
            names = self._sockets.names(self._supervisor.name)
            self._outbox.reply(request, {"status": "ok", "sockets": names})
        except (OSError, zmq.ZMQError) as error:
            way_out = "remove files from /run/sandkasten, or restart the kernel"
            message = f"the guest's sockets cannot be created again: {error.strerror}; {way_out}"
            self._outbox.reply(request, _error(message))


def _error(message: str) -> dict[str, Any]:
    return {"status": "error", "evalue": message}
