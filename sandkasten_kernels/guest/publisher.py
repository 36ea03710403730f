"""What the guest has to say: in order, and kept while the gateway does not take it or is away."""

from __future__ import annotations

from collections import deque
from typing import Any

import zmq

from .absence import GatewayAbsence
from .sockets import Sockets
from .wire import Request, Wire

#: Messages, of 64 KiB at most, that wait here for a gateway that is away, before bash waits.
MAX_KEPT = 64


class Publisher:
    """Says things on the guest's sockets: on control at once, on shell and iopub not while ``absence`` lasts."""

    def __init__(self, sockets: Sockets, absence: GatewayAbsence, wire: Wire) -> None:
        self._sockets = sockets
        self._absence = absence
        self._wire = wire
        self._news: deque[list[bytes]] = deque()
        self._replies: deque[list[bytes]] = deque()

    @property
    def flowing(self) -> bool:
        """Whether the gateway takes what we publish; while it does not, the shell's output waits in its pipes."""
        return len(self._news) < (MAX_KEPT if self._absence.away else 1)

    def publish(self, msg_type: str, content: dict[str, Any], parent: bytes = b"{}") -> None:
        """Say something on iopub, after all that waits."""
        self._news.append([msg_type.encode(), *self._wire.pack(msg_type, content, parent)])
        self.flush()

    def flush(self) -> None:
        """Say on iopub what the gateway takes of what waits."""
        if self._absence.away:
            return
        try:
            while self._news:
                self._sockets.iopub.send_multipart(self._news[0], zmq.NOBLOCK)
                self._news.popleft()
        except zmq.Again:
            return

    def reply(self, request: Request, content: dict[str, Any], data: bytes = b"") -> None:
        """Answer a request of the control socket's; ``data`` goes in a frame behind the content."""
        frames = self._reply_to(request, content)
        self._sockets.control.send_multipart([*frames, *([data] if data else [])])

    def reply_on_shell(self, request: Request, content: dict[str, Any]) -> None:
        """Answer a request of the shell socket's, when a gateway is there."""
        self._replies.append(self._reply_to(request, content))
        if not self._absence.away:
            self._send_replies()

    def release(self) -> None:
        """Say what has waited for a gateway, which is there again."""
        self._send_replies()
        self.flush()

    def prove(self, request: Request) -> None:
        """Let whoever asks learn that it is subscribed; said at once, while the rest may wait."""
        frames = self._wire.pack("status", {"execution_state": "idle"}, request.header)
        try:
            self._sockets.iopub.send_multipart([b"status", *frames], zmq.NOBLOCK)
        except zmq.Again:
            return

    def _send_replies(self) -> None:
        while self._replies:
            self._sockets.shell.send_multipart(self._replies.popleft())

    def _reply_to(self, request: Request, content: dict[str, Any]) -> list[bytes]:
        msg_type = request.msg_type.replace("_request", "_reply")
        return [*request.identities, *self._wire.pack(msg_type, content, request.header)]
