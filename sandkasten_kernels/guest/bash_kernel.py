"""BashKernel: the guest as a Jupyter kernel for bash. Output is ``stream`` on iopub; the reply has the exit code.

An ``execute_request`` may have options for its command in the object ``sandkasten`` beside ``code``: ``timeout``
(seconds), ``stdin`` (string), ``cwd`` (directory) and ``env`` (object of strings). ``cwd`` and ``env`` do not change
the shell's own directory and variables. Besides Jupyter's fields, the reply has ``exit_code cwd timed_out restarted
error``.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

import json
import signal
from collections import deque
from collections.abc import Callable
from typing import Any

from .command import CommandResult, ShellCommand
from .shell import Shell
from .wire import Request

MAX_WAITING = 1024
READONLY = frozenset(("BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"))
Content = dict[str, Any]

INFO: Content = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "sandkasten-guest",
    "implementation_version": "1",
    "banner": "bash in a sandbox",
    "language_info": {"name": "bash", "version": "5", "mimetype": "text/x-sh", "file_extension": ".sh"},
    "help_links": [],
}


class BashKernel:
    """Answers the requests of the shell channel one after the other.

    Parameters
    ----------
    publish: sends a message on iopub, given its type, content and parent header.
    reply: answers a request, given the content.
    """

    def __init__(
        self,
        shell: Shell,
        publish: Callable[[str, Content, bytes], None],
        reply: Callable[[Request, Content], None],
    ) -> None:
        self.shell = shell
        self._publish = publish
        self._reply = reply
        self._waiting: deque[Request] = deque()
        self._count = 0
        self._running = ""

    def receive(self, request: Request) -> None:
        """Queue a request. It is answered after those before it; at once with an error when `MAX_WAITING` wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._reply(
                request,
                {
                    "status": "error",
                    "ename": "QueueFull",
                    "evalue": f"{MAX_WAITING} requests are waiting already: wait for their replies",
                },
            )
            return
        self._waiting.append(request)
        self._next()

    def stop(self, msg_id: str) -> None:
        """Stop the command of one request as after its timeout.

        A request that still waits is answered without running.
        """
        if self._running == msg_id:
            self.shell.stop()
        for request in [request for request in self._waiting if _msg_id(request) == msg_id]:
            self._waiting.remove(request)
            self._done(request, {"status": "aborted", "exit_code": -1, "cwd": "", "timed_out": True})

    def restart(self) -> None:
        """Drop the requests that wait, and kill bash; the next command starts a new one."""
        self._waiting.clear()
        self._running = ""
        self._count = 0
        self.shell.kill()

    def _next(self) -> None:
        while self._waiting and self.shell.idle:
            self._handle(self._waiting.popleft())

    def _handle(self, request: Request) -> None:
        self._publish("status", {"execution_state": "busy"}, request.header)
        content = request.content
        if request.msg_type == "execute_request":
            self._execute(request)
            return
        answers: dict[str, Content] = {
            "kernel_info_request": INFO,
            "comm_info_request": {"status": "ok", "comms": {}},
            "history_request": {"status": "ok", "history": []},
            "is_complete_request": {"status": "unknown"},
            "inspect_request": {"status": "ok", "found": False, "data": {}, "metadata": {}},
            "complete_request": {
                "status": "ok",
                "matches": [],
                "cursor_start": content.get("cursor_pos", 0),
                "cursor_end": content.get("cursor_pos", 0),
                "metadata": {},
            },
        }
        unknown = {"status": "error", "ename": "UnknownRequest", "evalue": request.msg_type, "traceback": []}
        self._done(request, answers.get(request.msg_type, unknown))

    def _execute(self, request: Request) -> None:
        content = request.content
        silent = bool(content.get("silent"))
        if not silent:
            self._count += 1
            code_input = {"code": content.get("code", ""), "execution_count": self._count}
            self._publish("execute_input", code_input, request.header)
        text = str(content.get("code", ""))
        try:
            given = content.get("sandkasten") or {}
            options = _options(given)
            self.shell.env.update(given.get("keep_env") or {})
            if "\0" in text:
                raise ValueError("code: must be a string without NUL characters")
        except (TypeError, ValueError) as error:
            self._done(request, {"status": "error", "ename": "ValueError", "evalue": str(error), "traceback": []})
            return

        def output(name: str, text: str) -> None:
            self._publish("stream", {"name": name, "text": text}, request.header)

        def done(outcome: CommandResult) -> None:
            self._running = ""
            reply: Content = {"status": "ok", "execution_count": self._count, "user_expressions": {}, "payload": []}
            if outcome.error:
                reply.update(status="error", ename="ShellFailed", evalue=outcome.error, traceback=[])
            elif outcome.exit_code:
                message = "timed out" if outcome.timed_out else _describe(outcome.exit_code)
                reply.update(status="error", ename="ExitCode", evalue=message, traceback=[])
            self._done(request, {**reply, **outcome._asdict()})
            self._next()

        self._running = _msg_id(request)
        self.shell.run(ShellCommand(text, output, done, **options))

    def _done(self, request: Request, content: Content) -> None:
        self._reply(request, content)
        self._publish("status", {"execution_state": "idle"}, request.header)


def _msg_id(request: Request) -> str:
    return str(json.loads(request.header).get("msg_id", ""))


def _describe(exit_code: int) -> str:
    """Return an exit code in words, with the signal that bash reports by it."""
    text = f"exit code {exit_code}"
    name = signal.strsignal(exit_code - 128) if 128 < exit_code < 128 + signal.NSIG else None
    return f"{text} ({name})" if name else text


def _options(given: Content) -> dict[str, Any]:
    """Return the optional arguments of `ShellCommand`. Raises `ValueError` with a message for the user."""
    timeout, cwd, env = given.get("timeout"), given.get("cwd"), given.get("env") or {}
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError("timeout: must be a number of seconds above 0")
    if cwd is not None and not (isinstance(cwd, str) and cwd and "\0" not in cwd):
        raise ValueError("cwd: must be the path of a directory")
    for name, value in env.items() if isinstance(env, dict) else [("", None)]:
        if not (name.isascii() and name.isidentifier() and isinstance(value, str) and "\0" not in value):
            raise ValueError(
                f"env: must be an object of strings without NUL, with names of letters, digits and _; got {name!r}"
            )
        if name in READONLY:
            raise ValueError(f"env: cannot set {name}, which is read-only in bash")
    stdin = str(given.get("stdin") or "").encode("utf-8", "surrogatepass")
    return {"stdin": stdin, "timeout": timeout, "cwd": cwd, "env": env}
