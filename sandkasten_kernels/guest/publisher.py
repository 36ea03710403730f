"""Publisher: sends the guest's messages in order, and keeps them while the gateway is away or does not read."""

from __future__ import annotations

from collections import deque
from typing import Any

import zmq

from .absence import GatewayAbsence
from .sockets import Sockets
from .wire import Request, Wire

#: How many messages of at most 64 KiB wait here while the gateway is away; above that, bash waits.
MAX_KEPT = 64


class Publisher:
    """Sends on the guest's sockets: on control at once; on shell and iopub only when ``absence`` is over."""

    def __init__(self, sockets: Sockets, absence: GatewayAbsence, wire: Wire) -> None:
        self._sockets = sockets
        self._absence = absence
        self._wire = wire
        self._unsent: deque[list[bytes]] = deque()
        self._replies: deque[list[bytes]] = deque()

    @property
    def flowing(self) -> bool:
        """Whether there is room for messages on iopub. While there is none, the shell's output waits in its pipes."""
        return len(self._unsent) < (MAX_KEPT if self._absence.away else 1)

    def publish(self, msg_type: str, content: dict[str, Any], parent: bytes = b"{}") -> None:
        """Send a message on iopub, after those that wait."""
        self._unsent.append([msg_type.encode(), *self._wire.pack(msg_type, content, parent)])
        self.flush()

    def flush(self) -> None:
        """Send the messages that wait for iopub, as far as the gateway reads them; no-op while it is away."""
        if self._absence.away:
            return
        try:
            while self._unsent:
                self._sockets.iopub.send_multipart(self._unsent[0], zmq.NOBLOCK)
                self._unsent.popleft()
        except zmq.Again:
            return

    def reply(self, request: Request, content: dict[str, Any], data: bytes = b"") -> None:
        """Answer a request of the control socket. ``data`` becomes a frame behind the content."""
        frames = self._reply_to(request, content)
        self._sockets.control.send_multipart([*frames, *([data] if data else [])])

    def reply_on_shell(self, request: Request, content: dict[str, Any]) -> None:
        """Answer a request of the shell socket; while the gateway is away, the reply waits."""
        self._replies.append(self._reply_to(request, content))
        if not self._absence.away:
            self._send_replies()

    def release(self) -> None:
        """Send the messages that wait: the gateway is back."""
        self._send_replies()
        self.flush()

    def prove(self, request: Request) -> None:
        """Send a ``status`` on iopub, ahead of messages that wait: it proves to the asker that it is subscribed."""
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
