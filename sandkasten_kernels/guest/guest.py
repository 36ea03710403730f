"""The guest's one loop: requests of the gateway's, children that end, a kernel that becomes ready.

Requests arrive on the control socket as Jupyter messages signed with the guest's key:

=========================== ==================================== ==========================================
request                     content                              reply (``status``: ok or error, ``evalue``)
=========================== ==================================== ==========================================
``kernel_info_request``                                          ``protocol``, ``implementation``
``kernel_start_request``    ``argv env cwd key deadline``        ``pid generation sockets``, once all exist
``kernel_restart_request``  the same and ``grace``               the same; the old kernel has ``grace`` s
``kernel_signal_request``   ``signum``
``shell_restart_request``                                        when bash is gone; the next command starts one
``interrupt_request``       ``msg_id``                           SIGINT to the shell's foreground; with ``msg_id``
                                                                 that one request is ended, begun or not
``sockets_request``                                              ``sockets``: the guest's own, made again if need be
``remember_request``        ``note``                             an object for the next process of the gateway's
``recall_request``                                               ``note``, ``state pid cwd kernel_cwd``
``relief_request``          ``marker end``                       ``more``; data: what the kernel sent meanwhile
=========================== ==================================== ==========================================

Requests about files are those of `files`: data goes in a frame behind the content, there and back.

The shell socket is that of a Jupyter kernel whose language is bash.

News goes out on iopub: ``kernel_died`` with the content of a `Death`, unless a restart was asked for.

When the last subscriber of iopub is gone, the gateway is away. Until it sends a ``relief_request`` what the guest has
to say waits, and a `Placeholder` with the ``identity`` of the note holds its place at the kernel. SIGHUP means: say
hello again at the door.
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
    directory: of the sockets that are in ``sockets``.
    door: where to say hello again.
    wire: has the key that the gateway gave in answer to the first hello.
    """

    def __init__(self, directory: str, door: str, sockets: Sockets, signals: Signals, wire: Wire) -> None:
        self._directory = directory
        self._door = door
        self._sockets = sockets
        self._signals = signals
        self._wire = wire
        self._absence = GatewayAbsence(sockets)
        self._outbox = Publisher(sockets, self._absence, wire)
        self._kernel_life = KernelSupervisor(directory, sockets.tidy, self._outbox.reply, self._outbox.publish)
        shell = Shell("/workspace", dict(os.environ))
        self._bash = BashKernel(shell, self._outbox.publish, self._outbox.reply_on_shell)
        self._files = FileService("/workspace")

    def run(self) -> None:
        """Serve for ever."""
        control, shell_channel = self._sockets.control, self._sockets.shell
        stdin, iopub = self._sockets.stdin, self._sockets.iopub
        shell, life = self._bash.shell, self._kernel_life
        wakeup = self._signals.fileno()  # zmq.select gives back numbers for what is not its own
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
        waits = (self._bash.shell.patience(), self._kernel_life.patience())
        return min((wait for wait in waits if wait is not None), default=None)

    def _serve(self, frames: list[bytes]) -> None:
        request = self._wire.unpack(frames)
        if request is None:
            return
        reply, kernel = self._outbox.reply, self._kernel_life.kernel
        if request.msg_type == "kernel_info_request":
            reply(request, {"status": "ok", "protocol": PROTOCOL, "implementation": "sandkasten-guest"})
            self._outbox.prove(request)
        elif request.msg_type == "remember_request":
            self._absence.note = dict(request.content["note"])
            reply(request, {"status": "ok"})
        elif request.msg_type == "recall_request":
            reply(request, {"status": "ok", **self._recall()})
        elif request.msg_type == "relief_request":
            self._relieve(request)
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
        elif self._kernel_life.take(request):
            return
        elif found := self._files.answer(request.msg_type.removesuffix("_request"), request.content, request.data):
            reply(request, *found)
        else:
            reply(request, _error(f"{request.msg_type} is not possible while {self._kernel_life.state.name}"))

    def _recall(self) -> dict[str, Any]:
        life = self._kernel_life
        here = {"cwd": self._bash.shell.cwd, "kernel_cwd": directory_of(life.pid)}
        return {"note": self._absence.note, "state": life.state.name, "pid": life.pid, **here}

    def _relieve(self, request: Request) -> None:
        """Give the gateway what waited for it, a piece at a time; after the last of it we speak again."""
        data, more = self._absence.piece(request.content)
        self._outbox.reply(request, {"status": "ok", "more": more}, data)
        if not more:
            self._outbox.release()

    def _announce_again(self) -> None:
        try:
            names = self._sockets.names(self._kernel_life.name)
        except (OSError, zmq.ZMQError):
            names = {}
        announce_again(self._door, self._directory, names)

    def _name_sockets(self, request: Request) -> None:
        try:
            names = self._sockets.names(self._kernel_life.name)
            self._outbox.reply(request, {"status": "ok", "sockets": names})
        except (OSError, zmq.ZMQError) as error:
            way_out = "remove what is in /run/sandkasten, or restart the kernel"
            words = f"the guest's sockets cannot be made again: {error.strerror}; {way_out}"
            self._outbox.reply(request, _error(words))


def _error(words: str) -> dict[str, Any]:
    return {"status": "error", "evalue": words}
