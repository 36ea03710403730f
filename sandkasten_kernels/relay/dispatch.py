"""Dispatcher: takes a kernel's messages apart, and hands each one on to the clients or the call that it is for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ..protocol import EMPTY, Parts, json_object, message_type, parts_of, split_stream, told_state, zmtp
from .calls import Calls
from .channels import OversizedNotices
from .clients import Client, Clients
from .replies import Replies
from .requests import OpenRequests

__all__ = ["Dispatcher"]


class Dispatcher:
    """Routes messages by their parent header; synchronous.

    A sandbox may send anything, so every field is checked for its type and every size is limited.

    Parameters
    ----------
    on_state: called with ``busy`` or ``idle`` when the kernel reports it for a client's request.
    """

    def __init__(
        self,
        calls: Calls,
        requests: OpenRequests[Client],
        clients: Clients,
        replies: Replies,
        oversized: OversizedNotices,
        on_state: Callable[[str], None],
        log: logging.Logger,
    ) -> None:
        self._own_session = clients.session.encode()
        self._calls = calls
        self._requests = requests
        self._clients = clients
        self._replies = replies
        self._oversized = oversized
        self._on_state = on_state
        self._log = log

    def iopub(self, parts: Parts | None) -> None:
        """Deliver an iopub message to every client, unless it belongs to a request of the gateway's own."""
        kind = message_type(parts) if parts else None
        if parts is None or kind is None:
            self._log.debug("the kernel published frames that are no message")
            return
        self._requests.note_parent(parts[1])
        # A search in the bytes is enough: the session is random, and parsing every parent costs more than the rest.
        own = self._own_session in parts[1]
        state = told_state(parts) if kind == "status" else ""
        if state and not own:
            self._on_state(state)
        if own or kind == "iopub_welcome":
            return
        if self._clients.clients:  # a warm kernel has none; splitting takes time
            for piece in split_stream(parts) if kind == "stream" else (parts,):
                self._clients.fan_out("iopub", piece)
        # After the fan-out: a client stops reading at the reply that `idle` releases.
        if state == "idle":
            self._replies.idle(parts[1])

    def reply(self, channel: str, frames: list[bytes]) -> None:
        """Deliver a reply, or a question on stdin, to the client or to the gateway's call that it answers."""
        parts = parts_of(frames)
        if parts is None or message_type(parts) is None:
            self._log.debug("the kernel replied with frames that are no message")
            return
        if self._own_session in parts[1] and self._calls.answer(str(json_object(parts[1]).get("msg_id")), parts):
            return
        # A question of a running cell, not the reply to it: the request stays open.
        if channel == "stdin":
            if client := self._requests.client_of(parts[1]):
                self._clients.deliver(client, channel, parts)
            return
        self._requests.note_parent(parts[1])
        self._replies.take(channel, parts)

    def oversized(self, channel: str, event: zmtp.Oversized) -> None:
        """Report a message above the limit, of which only the first frames are left, on stderr of its request."""
        if notice := self._oversized.notice(event, asyncio.get_running_loop().time()):
            self._log.warning("%s: %s", channel, notice)
            # Padded, because the dropped message may have lost the frames that make it one.
            parts = parts_of([*event.frames, b"", b"", b"", b"", b""])
            parent = parts[1] if parts and json_object(parts[1]) else EMPTY
            self._clients.publish("stream", {"name": "stderr", "text": notice + "\n"}, parent)
