"""Replies: delivers each reply after the output of its request, and makes one when the kernel sends none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..protocol import Parts, build
from .clients import Client, Clients
from .requests import OpenRequest, OpenRequests

__all__ = ["Replies"]

REPLY_HOLD_SECONDS, MAX_REPLY_HOLD_SECONDS = 1.0, 60.0
LOST_REPLY_SECONDS = 5.0


class Replies:
    """Delivers replies to the clients of their requests. An ``execute_reply`` comes after all output of its execution.

    A client stops reading at the reply, but replies and output come over different sockets and may overtake each other.

    Parameters
    ----------
    heard_at: returns when the kernel last sent a byte on iopub, by the event loop's clock.
    """

    def __init__(self, requests: OpenRequests[Client], clients: Clients, heard_at: Callable[[], float]) -> None:
        self._heard_at = heard_at
        self._requests = requests
        self._clients = clients

    def take(self, channel: str, parts: Parts) -> None:
        """Deliver a reply of the kernel now, or when the output of its request is complete."""
        now, held = self._requests.reply(parts)
        if now:
            self._clients.deliver(now.client, channel, now.parts)
        elif held:
            self._release_later(held, asyncio.get_running_loop().time())

    def idle(self, parent: bytes) -> None:
        """Deliver the held reply of a request that is idle; without one in 5 s the client gets an error reply."""
        if held := self._requests.idle(parent):
            self._clients.deliver(held.client, "shell", held.parts)
        elif lost := self._requests.unanswered(parent):
            asyncio.get_running_loop().call_later(LOST_REPLY_SECONDS, self._reply_lost, lost)

    def write_to_executions(self, line: str) -> list[str]:
        """Write a line to the stderr of every execution that is not done; return the ids of their requests."""
        executing = self._requests.executing()
        for request in executing:
            self._write(line, request)
        return [request.msg_id for request in executing]

    def fail(self, ename: str, reason: str) -> bool:
        """Answer every open request with an error and ``idle``, so that no client waits for ever.

        Returns whether there was an execution among them; ``reason`` is on its stderr too.
        """
        executing = False
        for request in self._requests.drain():
            if request.kind == "execute_request" and not request.idle:
                executing = True
                self._write(reason, request)
            if not request.idle:
                self._clients.publish("status", {"execution_state": "idle"}, request.header)
            if held := self._requests.release(request):
                self._clients.deliver(held.client, "shell", held.parts)
            elif not request.replied:
                self._answer(request, ename, reason)
        return executing

    def _release_later(self, request: OpenRequest[Client], since: float) -> None:
        """Deliver a held reply when iopub has been silent for a second, because its ``idle`` will not come then.

        While output arrives the reply waits on, for a minute at most.
        """
        loop = asyncio.get_running_loop()
        until = min(max(self._heard_at(), since) + REPLY_HOLD_SECONDS, since + MAX_REPLY_HOLD_SECONDS)
        if request.held is not None and loop.time() < until:
            loop.call_at(until, self._release_later, request, since)
            return
        if held := self._requests.release(request):
            self._clients.deliver(held.client, "shell", held.parts)

    def _reply_lost(self, request: OpenRequest[Client]) -> None:
        # ipykernel sends no reply when an interrupt hits it while it replies.
        if self._requests.give_up(request):
            self._answer(request, "ReplyLost", "The kernel was done with this, but did not answer.")

    def _write(self, line: str, request: OpenRequest[Client]) -> None:
        self._clients.publish("stream", {"name": "stderr", "text": f"{line}\n"}, request.header)

    def _answer(self, request: OpenRequest[Client], ename: str, reason: str) -> None:
        error: dict[str, Any] = {"status": "error", "ename": ename, "evalue": reason, "traceback": []}
        if request.kind == "execute_request":
            error["execution_count"] = 0  # every execute_reply has the field
        reply = request.kind.removesuffix("_request") + "_reply"
        self._clients.deliver(request.client, "shell", build(reply, error, self._clients.session, request.header)[1])
