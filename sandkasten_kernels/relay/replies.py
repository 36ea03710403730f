"""Replies on their way to the clients that have asked: held until the output is complete, and made where none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..protocol.messages import Parts, build
from .clients import Client, Clients
from .requests import OpenRequest, OpenRequests

__all__ = ["Replies"]

REPLY_HOLD_SECONDS, MAX_REPLY_HOLD_SECONDS = 1.0, 60.0
LOST_REPLY_SECONDS = 5.0


class Replies:
    """Gives each reply to its client, that of an execution after all of its output, and answers for a kernel that
    does not.

    Parameters
    ----------
    heard_at: gives when the kernel last sent anything on iopub, by the event loop's clock.
    """

    def __init__(self, requests: OpenRequests[Client], audience: Clients, heard_at: Callable[[], float]) -> None:
        self._heard_at = heard_at
        self._requests = requests
        self._audience = audience

    def take(self, channel: str, parts: Parts) -> None:
        """Take a reply off the kernel, and deliver it now or when its output is complete."""
        now, held = self._requests.reply(parts)
        if now:
            self._audience.deliver(now.client, channel, now.parts)
        elif held:
            self._release_later(held, asyncio.get_running_loop().time())

    def idle(self, parent: bytes) -> None:
        """The kernel is done with a request: deliver the reply that was held, or see to it that there is one."""
        if held := self._requests.idle(parent):
            self._audience.deliver(held.client, "shell", held.parts)
        elif lost := self._requests.unanswered(parent):
            asyncio.get_running_loop().call_later(LOST_REPLY_SECONDS, self._reply_lost, lost)

    def tell_executions(self, words: str) -> list[str]:
        """Say something on stderr in every execution that is not done; return the ids of their requests."""
        executing = self._requests.executing()
        for request in executing:
            self._say(words, request)
        return [request.msg_id for request in executing]

    def fail(self, ename: str, reason: str) -> bool:
        """Answer every request that waits for the kernel with an error and ``idle``, so that no client hangs.

        Returns whether a client was told in an execution of its own; its words stand there on stderr too.
        """
        told = False
        for request in self._requests.drain():
            if request.kind == "execute_request" and not request.idle:
                told = True
                self._say(reason, request)
            if not request.idle:
                self._audience.publish("status", {"execution_state": "idle"}, request.header)
            if held := self._requests.release(request):
                self._audience.deliver(held.client, "shell", held.parts)
            elif not request.replied:
                self._answer(request, ename, reason)
        return told

    def _release_later(self, request: OpenRequest[Client], since: float) -> None:
        """Give a held reply up to its client when iopub has been silent for a while: its ``idle`` will not come.

        While output still arrives the reply waits on, because a client stops reading at it.
        """
        loop = asyncio.get_running_loop()
        until = min(max(self._heard_at(), since) + REPLY_HOLD_SECONDS, since + MAX_REPLY_HOLD_SECONDS)
        if request.held is not None and loop.time() < until:
            loop.call_at(until, self._release_later, request, since)
            return
        if held := self._requests.release(request):
            self._audience.deliver(held.client, "shell", held.parts)

    def _reply_lost(self, request: OpenRequest[Client]) -> None:
        """Answer for a kernel that is done with an execution and does not: ipykernel, interrupted while it replies."""
        if self._requests.give_up(request):
            self._answer(request, "ReplyLost", "The kernel was done with this, but did not answer.")

    def _say(self, words: str, request: OpenRequest[Client]) -> None:
        self._audience.publish("stream", {"name": "stderr", "text": f"{words}\n"}, request.header)

    def _answer(self, request: OpenRequest[Client], ename: str, reason: str) -> None:
        error: dict[str, Any] = {"status": "error", "ename": ename, "evalue": reason, "traceback": []}
        if request.kind == "execute_request":
            error["execution_count"] = 0
        reply = request.kind.removesuffix("_request") + "_reply"
        self._audience.deliver(request.client, "shell", build(reply, error, self._audience.session, request.header)[1])
