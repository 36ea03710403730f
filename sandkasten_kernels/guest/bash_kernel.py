"""The guest as a Jupyter kernel whose language is bash: requests in order, output as ``stream``, exit codes in replies.

An ``execute_request`` may carry ``sandkasten: {"timeout": seconds, "stdin": text}`` beside its code. Its reply has,
besides what Jupyter knows, ``exit_code cwd timed_out restarted``.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .shell import Command, Outcome, Shell
from .wire import Request

MAX_WAITING = 1024
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
    """Answers what arrives on the shell channel, one request after the other.

    Parameters
    ----------
    publish: sends an iopub message: type, content, parent header.
    reply: answers a request with a content.
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

    def receive(self, request: Request) -> None:
        """Take a request; it is answered when those before it are."""
        if len(self._waiting) >= MAX_WAITING:
            self._reply(request, {"status": "error", "ename": "QueueFull", "evalue": "too many requests wait"})
            return
        self._waiting.append(request)
        self._next()

    def restart(self) -> None:
        """Drop what waits and end bash; a new one starts with the next command."""
        self._waiting.clear()
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
        options = content.get("sandkasten") or {}

        def output(name: str, text: str) -> None:
            self._publish("stream", {"name": name, "text": text}, request.header)

        def done(outcome: Outcome) -> None:
            reply: Content = {"status": "ok", "execution_count": self._count, "user_expressions": {}, "payload": []}
            if outcome.exit_code:
                words = "timed out" if outcome.timed_out else f"exit code {outcome.exit_code}"
                reply.update(status="error", ename="ExitCode", evalue=words, traceback=[])
            self._done(request, {**reply, **outcome._asdict()})
            self._next()

        text = str(content.get("code", ""))
        if "\0" in text:
            evalue = "a command cannot have a NUL character"
            self._done(request, {"status": "error", "ename": "ValueError", "evalue": evalue, "traceback": []})
            return
        stdin = str(options.get("stdin") or "").encode("utf-8", "surrogatepass")
        self.shell.run(Command(text, output, done, stdin=stdin, timeout=options.get("timeout")))

    def _done(self, request: Request, content: Content) -> None:
        self._reply(request, content)
        self._publish("status", {"execution_state": "idle"}, request.header)
