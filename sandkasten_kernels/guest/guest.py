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
to say waits, and a `StandIn` with the ``identity`` of the note holds its place at the kernel. SIGHUP means: say hello
again at the door.
"""

from __future__ import annotations

import enum
import os
import signal
import socket
import time
from collections import deque
from typing import Any

import zmq

from . import PROTOCOL
from .absence import Absence
from .bash_kernel import BashKernel
from .door import announce_again
from .files import Files
from .shell import Shell
from .sockets import Sockets
from .supervisor import Death, Kernel, StartFailed, directory_of
from .wire import Request, Wire

#: Sockets are waited for by looking: an inotify instance could be denied by another sandbox, which shares our host uid.
READY_POLL_MS = 5
#: Messages, of 64 KiB at most, that wait here for a gateway that is away, before bash waits.
MAX_KEPT = 64


class State(enum.Enum):
    """Of the one kernel; changed by `Guest._enter` alone."""

    NONE = enum.auto()
    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()


class Guest:
    """Holds the sandbox's kernel, one at a time."""

    def __init__(self, directory: str, door: str = "") -> None:
        self._directory = directory
        self._door = door
        self._held: deque[list[bytes]] = deque()
        self._wire: Wire
        self._state = State.NONE
        self._kernel: Kernel | None = None
        self._generation = 0
        self._asked: Request | None = None
        self._unsent: deque[list[bytes]] = deque()
        self._deadline = 0.0
        self._sockets = Sockets(directory)
        self._absence = Absence(self._sockets)
        self._control, self._shell_channel = self._sockets.control, self._sockets.shell
        self._stdin, self._iopub = self._sockets.stdin, self._sockets.iopub
        self._bash = BashKernel(Shell("/workspace", dict(os.environ)), self._publish, self._reply_on_shell)
        self._files = Files("/workspace")
        self._wakeup, self._wakeup_writer = socket.socketpair()
        self._wakeup.setblocking(False)
        self._wakeup_writer.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def run(self, key: bytes) -> None:
        """Serve for ever."""
        self._wire = Wire(key)
        while True:
            stderr = self._kernel.stderr_fd if self._kernel else -1
            shell = self._bash.shell
            wakeup = self._wakeup.fileno()  # zmq.select gives back numbers for what is not its own
            sources: list[Any] = [self._control, self._iopub, self._stdin, wakeup]
            sources += [self._shell_channel] if self._flowing else []
            sources += shell.readable() if self._flowing else []
            sources += [stderr] if stderr >= 0 else []
            waiting: list[Any] = [] if self._absence.away else [self._iopub]
            sinks: list[Any] = shell.writable() if self._flowing else waiting
            readable, writable, _ = zmq.select(sources, sinks, [], self._patience())
            if self._iopub in writable:
                self._flush()
            for fd in {*readable, *writable}:
                if isinstance(fd, int) and fd not in (stderr, wakeup) and fd in {*shell.readable(), *shell.writable()}:
                    shell.ready(fd)
            if stderr in readable and self._kernel:
                self._kernel.read_stderr()
            if wakeup in readable and signal.SIGHUP in self._wakeup.recv(4096):
                self._announce_again()
            self._reap()
            if self._control in readable:
                self._serve(self._control.recv_multipart())
            if self._iopub in readable and self._iopub.recv_multipart()[0] == b"\0":
                self._absence.begin(self._kernel.name if self._kernel and self._state is State.RUNNING else "")
            if self._stdin in readable:
                self._stdin.recv_multipart()
            if self._shell_channel in readable:
                request = self._wire.unpack(self._shell_channel.recv_multipart())
                if request:
                    self._bash.receive(request)
            shell.tick()
            self._tick()

    def _patience(self) -> float | None:
        waits = [self._bash.shell.patience()]
        if self._state is State.STARTING:
            waits.append(READY_POLL_MS / 1000)
        elif self._state is State.STOPPING:
            waits.append(max(0.001, self._deadline - time.monotonic()))
        return min((wait for wait in waits if wait is not None), default=None)

    @property
    def _flowing(self) -> bool:
        """Whether the gateway takes what we publish; while it does not, the shell's output waits in its pipes."""
        return len(self._unsent) < (MAX_KEPT if self._absence.away else 1)

    def _publish(self, msg_type: str, content: dict[str, Any], parent: bytes = b"{}") -> None:
        self._unsent.append([msg_type.encode(), *self._wire.pack(msg_type, content, parent)])
        self._flush()

    def _flush(self) -> None:
        if self._absence.away:
            return
        try:
            while self._unsent:
                self._iopub.send_multipart(self._unsent[0], zmq.NOBLOCK)
                self._unsent.popleft()
        except zmq.Again:
            return

    def _reply_on_shell(self, request: Request, content: dict[str, Any]) -> None:
        frames = self._wire.pack(request.msg_type.replace("_request", "_reply"), content, request.header)
        self._held.append([*request.identities, *frames])
        if not self._absence.away:
            self._send_held()

    def _send_held(self) -> None:
        while self._held:
            self._shell_channel.send_multipart(self._held.popleft())

    def _relieve(self, request: Request) -> None:
        """Give the gateway what waited for it, a piece at a time; after the last of it we speak again."""
        data, more = self._absence.piece(request.content)
        self._reply(request, {"status": "ok", "more": more}, data)
        if not more:
            self._send_held()
            self._flush()

    def _prove(self, request: Request) -> None:
        """Let whoever asks learn that it is subscribed; said at once, while the rest may wait."""
        frames = self._wire.pack("status", {"execution_state": "idle"}, request.header)
        try:
            self._iopub.send_multipart([b"status", *frames], zmq.NOBLOCK)
        except zmq.Again:
            return

    def _recall(self) -> dict[str, Any]:
        pid = self._kernel.pid if self._kernel else 0
        here = {"cwd": self._bash.shell.cwd, "kernel_cwd": directory_of(pid)}
        return {"note": self._absence.note, "state": self._state.name, "pid": pid, **here}

    def _serve(self, frames: list[bytes]) -> None:
        request = self._wire.unpack(frames)
        if request is None:
            return
        if request.msg_type == "kernel_info_request":
            self._reply(request, {"status": "ok", "protocol": PROTOCOL, "implementation": "sandkasten-guest"})
            self._prove(request)
        elif request.msg_type == "remember_request":
            self._absence.note = dict(request.content["note"])
            self._reply(request, {"status": "ok"})
        elif request.msg_type == "recall_request":
            self._reply(request, {"status": "ok", **self._recall()})
        elif request.msg_type == "relief_request":
            self._relieve(request)
        elif request.msg_type == "kernel_signal_request":
            if self._kernel:
                self._kernel.signal(request.content["signum"])
            self._reply(request, {"status": "ok"} if self._kernel else _error("no kernel runs"))
        elif request.msg_type == "interrupt_request":
            msg_id = request.content.get("msg_id")
            self._bash.stop(msg_id) if msg_id else self._bash.shell.interrupt()
            self._reply(request, {"status": "ok"})
        elif request.msg_type == "sockets_request":
            self._name_sockets(request)
        elif request.msg_type == "shell_restart_request":
            self._bash.restart()
            self._reply(request, {"status": "ok"})
        elif request.msg_type in ("kernel_start_request", "kernel_restart_request") and self._state is State.NONE:
            self._start(request)
        elif request.msg_type == "kernel_restart_request":
            self._asked = request
            self._enter(State.STOPPING, request.content["grace"])
        elif found := self._files.answer(request.msg_type.removesuffix("_request"), request.content, request.data):
            self._reply(request, *found)
        else:
            self._reply(request, _error(f"{request.msg_type} is not possible while {self._state.name}"))

    def _announce_again(self) -> None:
        try:
            names = self._sockets.names(self._kernel.name if self._kernel else "")
        except (OSError, zmq.ZMQError):
            names = {}
        announce_again(self._door, self._directory, names)

    def _name_sockets(self, request: Request) -> None:
        try:
            names = self._sockets.names(self._kernel.name if self._kernel else "")
            self._reply(request, {"status": "ok", "sockets": names})
        except (OSError, zmq.ZMQError) as error:
            way_out = "remove what is in /run/sandkasten, or restart the kernel"
            self._reply(request, _error(f"the guest's sockets cannot be made again: {error.strerror}; {way_out}"))

    def _enter(self, state: State, seconds: float = 0.0) -> None:
        self._state = state
        self._deadline = time.monotonic() + seconds

    def _start(self, request: Request) -> None:
        self._asked = request
        self._generation += 1
        self._sockets.tidy()
        kernel = Kernel(self._directory, self._generation)
        content = request.content
        try:
            kernel.spawn(content["argv"], {**os.environ, **content["env"]}, content["cwd"], content["key"])
        except (StartFailed, OSError, ValueError) as error:
            self._enter(State.NONE)
            self._answer(_error(f"the kernel cannot be started: {error}"))
            return
        self._kernel = kernel
        self._enter(State.STARTING, content["deadline"])

    def _tick(self) -> None:
        late = time.monotonic() >= self._deadline
        if self._kernel is None:
            return
        if self._state is State.STARTING and (sockets := self._kernel.sockets()):
            self._enter(State.RUNNING)
            content = {"pid": self._kernel.pid, "generation": self._generation, "sockets": sockets}
            self._answer({"status": "ok", **content})
        elif self._state in (State.STARTING, State.STOPPING) and late:
            self._kernel.signal(signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if self._kernel and pid == self._kernel.pid:
                self._ended(self._kernel.ended(status))
            elif pid == self._bash.shell.pid:
                self._bash.shell.ended(status)

    def _ended(self, death: Death) -> None:
        state = self._state
        self._kernel = None
        self._enter(State.NONE)
        if state is State.STARTING:
            self._answer({**_error("the kernel ended while it started"), **death.content()})
        elif state is State.STOPPING and self._asked:
            self._start(self._asked)
        else:
            self._publish("kernel_died", death.content())

    def _answer(self, content: dict[str, Any]) -> None:
        request, self._asked = self._asked, None
        if request:
            self._reply(request, content)

    def _reply(self, request: Request, content: dict[str, Any], data: bytes = b"") -> None:
        frames = self._wire.pack(request.msg_type.replace("_request", "_reply"), content, request.header)
        self._control.send_multipart([*request.identities, *frames, *([data] if data else [])])


def _error(words: str) -> dict[str, Any]:
    return {"status": "error", "evalue": words}
