"""KernelLink: the gateway's one end of one kernel.

One set of sockets for each kernel, subscribed while the kernel is still in the pool. Every client (a WebSocket, a
stream) attaches to the link; iopub goes to all of them, a reply to the one that asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from ..protocol import zmtp
from ..protocol.frames import split_stream
from ..protocol.messages import EMPTY, Parts, Reply, build, json_object, message_type, parts_of, told_state
from ..protocol.sockets import Endpoint, SocketError
from .backlog import Backlog
from .calls import Calls, LinkError
from .channels import KernelChannels
from .clients import Client, Clients
from .oversized import OversizedNotices
from .replies import Replies
from .requests import OpenRequests

__all__ = ["Client", "KernelLink", "LinkError"]

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
IOPUB_PROOF_SECONDS, MARK_SECONDS = 0.25, 2.0


class KernelLink:
    """Connects to a kernel, asks it, and carries its clients' messages.

    Replies find their client by `OpenRequests`; messages that answer the gateway's own requests reach no client. What
    the kernel sends is only believed as far as it is bounded: headers, states, sizes.

    Parameters
    ----------
    on_lost: called once when the kernel's side ends a connection.
    identity, session: those of an earlier process, which are taken over; new ones without them.
    """

    def __init__(
        self, on_lost: Callable[[], None], log: logging.Logger, *, identity: str = "", session: str = ""
    ) -> None:
        self.session = session or uuid.uuid4().hex
        self.identity = (identity or uuid.uuid4().hex).encode()
        self.on_new_session: Callable[[], None] = lambda: None
        self.on_asked: Callable[[], None] = lambda: None
        self.execution_state = "starting"
        self.last_activity = datetime.now(UTC)
        self._own = self.session.encode()
        self._on_lost = on_lost
        self._log = log
        self._calls = Calls()
        self._requests: OpenRequests[Client] = OpenRequests()
        self._audience = Clients(self.session, self._requests.forget, log)
        self._replies = Replies(self._requests, self._audience, lambda: self.heard_at)
        self._channels = KernelChannels(
            self.identity, MAX_MESSAGE_BYTES, self._on_iopub, self._on_reply, self._on_oversized, self._lost
        )
        self._oversized = OversizedNotices(MAX_MESSAGE_BYTES)
        self._iopub_proven = asyncio.Event()
        self._marker = b""
        self._heard_at = 0.0

    async def open(self, endpoint: Endpoint, names: Mapping[str, str], key: bytes, timeout: float) -> None:
        """Connect, and return when the kernel has answered ``kernel_info`` and our subscription is proven.

        Raises `LinkError` when that does not happen within ``timeout`` seconds.
        """
        self._iopub_proven.clear()
        self.execution_state = "starting"
        try:
            async with asyncio.timeout(timeout):
                await self._channels.open(endpoint, names, key, timeout)
                while not self._iopub_proven.is_set():
                    await self.call("shell", "kernel_info_request", {}, timeout)
                    try:
                        await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                    except TimeoutError:
                        self._log.debug("no iopub message yet; asking the kernel again")
        except (TimeoutError, SocketError) as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel did not become ready within {timeout:g} s ({error})") from error
        self.execution_state = "idle"

    async def resume(
        self, endpoint: Endpoint, names: Mapping[str, str], key: bytes, relief: Backlog, timeout: float
    ) -> None:
        """Connect to a kernel that an earlier process left, and return when nothing can be missed any more.

        What the kernel has said meanwhile comes from ``relief``, called with the id of a request: all until the kernel
        spoke of it. The kernel may be busy, or too busy to answer even on control; it is adopted all the same.
        ``clients`` are to be attached, and `inherit` called, before. Raises `LinkError` when it cannot be reached.
        """
        self.execution_state = "busy"
        try:
            await self._channels.open(endpoint, names, key, timeout, paused=("shell", "stdin"))
            marker = await self._mark(MARK_SECONDS)
            async for channel, frames in relief(marker):
                if channel == "iopub":
                    self._on_iopub(frames)
                elif channel in KernelChannels.names:
                    self._on_reply(channel, frames)
            self._channels.resume()
            probe = self.post("shell", "kernel_info_request", {})
        except SocketError as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel cannot be reached: {error}") from error
        probe.add_done_callback(self._caught_up)
        await asyncio.wait({probe}, timeout=IOPUB_PROOF_SECONDS)

    def inherit(self, sessions: Mapping[str, Client]) -> None:
        """Let replies to what was asked before find these clients, known by the sessions of their messages."""
        self._requests.inherit(sessions)

    @property
    def sessions(self) -> Mapping[str, Client]:
        """The clients that have asked anything, by the sessions of their messages."""
        return self._requests.sessions

    async def _mark(self, timeout: float) -> str:
        """Return the id of a request that the kernel has spoken of on iopub, which is paused right behind it.

        Empty where it does not within ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        self._iopub_proven.clear()
        while loop.time() < give_up:
            msg_id, parts = build("kernel_info_request", {}, self.session)
            self._marker = msg_id.encode()
            self._channels.send("control", parts)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                return msg_id
        self._marker = b""
        return ""

    def _caught_up(self, probe: asyncio.Future[Reply]) -> None:
        """The kernel has answered what was asked of it after all else: it has done what it was doing."""
        if not probe.cancelled() and not probe.exception():
            self._requests.inherited()
            self.execution_state = "idle"

    def close(self, reason: str) -> None:
        """End the connections; clients stay attached, and requests under way end with ``reason``."""
        self._channels.close()
        self._calls.fail(reason)

    @property
    def clients(self) -> Set[Client]:
        """The clients that are attached."""
        return self._audience.clients

    @property
    def connections(self) -> int:
        """How many clients are present; one that is away for a moment is still a client."""
        return self._audience.present

    def attach(self, client: Client) -> None:
        """Deliver what the kernel says to ``client`` from now on."""
        self._audience.attach(client)

    def detach(self, client: Client) -> None:
        """Deliver nothing more to ``client``; its requests go on in the kernel."""
        self._audience.detach(client)

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message to the kernel; waits while the kernel does not read.

        Raises `LinkError` when the kernel is gone.
        """
        if channel not in self._channels:
            raise LinkError(f"no kernel to send to on {channel!r}")
        if channel != "stdin" and self._requests.add(client, parts[0]):
            self.on_new_session()
        self.last_activity = datetime.now(UTC)
        try:
            self._channels.send(channel, parts)
        except SocketError as error:
            raise LinkError(str(error)) from error
        self.on_asked()
        await self._channels.drain(channel)

    def post(self, channel: str, msg_type: str, content: Mapping[str, Any]) -> asyncio.Future[Reply]:
        """Send a request of the gateway's own and return the future of its reply; its iopub reaches no client."""
        if channel not in self._channels:
            raise LinkError("the kernel is gone")
        msg_id, parts = build(msg_type, content, self.session)
        future = self._calls.expect(msg_id)
        try:
            self._channels.send(channel, parts)
        except SocketError as error:
            future.cancel()
            raise LinkError(str(error)) from error
        return future

    async def call(self, channel: str, msg_type: str, content: Mapping[str, Any], timeout: float) -> Reply:
        """Return the kernel's reply to a request of the gateway's own; raises `LinkError`, also after ``timeout``."""
        try:
            return await asyncio.wait_for(self.post(channel, msg_type, content), timeout)
        except TimeoutError as error:
            raise LinkError(f"no answer to {msg_type} within {timeout:g} s") from error

    def publish(self, msg_type: str, content: Mapping[str, Any], parent_header: bytes = EMPTY) -> None:
        """Send an iopub message of the gateway's own to every client."""
        self._audience.publish(msg_type, content, parent_header)

    @property
    def heard_at(self) -> float:
        """When the kernel last sent anything on iopub, also a part of a message, by the event loop's clock."""
        return max(self._heard_at, self._channels.heard_at("iopub"))

    @property
    def waiting(self) -> bool:
        """Whether a client's request is not done."""
        return bool(self._requests)

    def executing(self) -> list[tuple[str, bytes]]:
        """Return ids and headers of the executions that are not done, first the one that came first."""
        return [(request.msg_id, request.header) for request in self._requests.executing()]

    def refuse(self, client: Client, parts: Parts, ename: str, reason: str) -> None:
        """Answer a client's message with an error and ``idle`` instead of sending it to the kernel, which is gone."""
        self._requests.add(client, parts[0])
        self.fail_open_requests(ename, reason)

    def tell_executions(self, words: str) -> list[str]:
        """Say something on stderr in every execution that is not done; return the ids of their requests."""
        return self._replies.tell_executions(words)

    def announce_end(self, ename: str, words: str, state: str) -> None:
        """Tell every client that the process has ended, and what is the kernel's state now; what waits ends with it."""
        self.execution_state = state
        if not self.fail_open_requests(ename, words):
            self.publish("stream", {"name": "stderr", "text": f"{words}\n"})
        self.publish("status", {"execution_state": state})

    def fail_open_requests(self, ename: str, reason: str) -> bool:
        """Answer every request that waits for the kernel with an error and ``idle``, so that no client hangs.

        Returns whether a client was told in an execution of its own; its words stand there on stderr too.
        """
        return self._replies.fail(ename, reason)

    def _lost(self) -> None:
        self.close("the kernel ended the connection")
        self._on_lost()

    def _on_iopub(self, frames: list[bytes]) -> None:
        if not self._marker:
            self._iopub_proven.set()
        self._heard_at = asyncio.get_running_loop().time()
        parts = parts_of(frames)
        if self._marker:  # what is published before it is in the relief
            if parts and self._marker in parts[1]:
                self._marker = b""
                self._iopub_proven.set()
                self._channels.pause("iopub")
            return
        kind = message_type(parts) if parts else None
        if parts is None or kind is None:
            self._log.debug("the kernel published what is no message")
            return
        self._requests.heard_of(parts[1])
        own = self._own in parts[1]
        state = told_state(parts) if kind == "status" else ""
        if state and not own:
            self.execution_state = state
            self.last_activity = datetime.now(UTC)
        if own or kind == "iopub_welcome":
            return
        if self._audience.clients:
            for piece in split_stream(parts) if kind == "stream" else (parts,):
                self._audience.fan_out("iopub", piece)
        if state == "idle":
            self._replies.idle(parts[1])

    def _on_reply(self, channel: str, frames: list[bytes]) -> None:
        parts = parts_of(frames)
        if parts is None or message_type(parts) is None:
            self._log.debug("the kernel replied what is no message")
            return
        if self._own in parts[1] and self._calls.answer(str(json_object(parts[1]).get("msg_id")), parts):
            return
        if channel == "stdin":
            if client := self._requests.client_of(parts[1]):
                self._audience.deliver(client, channel, parts)
            return
        self._requests.heard_of(parts[1])
        self._replies.take(channel, parts)

    def _on_oversized(self, channel: str, event: zmtp.Oversized) -> None:
        """Tell of a message that was passed over."""
        if words := self._oversized.words(event, asyncio.get_running_loop().time()):
            self._log.warning("%s: %s", channel, words)
            parts = parts_of([*event.frames, b"", b"", b"", b"", b""])
            parent = parts[1] if parts and json_object(parts[1]) else EMPTY
            self.publish("stream", {"name": "stderr", "text": words + "\n"}, parent)
