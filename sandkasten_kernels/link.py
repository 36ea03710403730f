"""KernelLink: the gateway's one end of one kernel, and the fan-out of what the kernel says.

One set of sockets for each kernel, subscribed while the kernel is still in the pool. Every client (a WebSocket, a
stream) attaches to the link; iopub goes to all of them, a reply to the one that asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from . import zmtp
from .calls import Calls, LinkError
from .channel import Channel, ChannelError, SocketDirectory
from .messages import EMPTY, Parts, Reply, Signer, build, json_object, message_type, parts_of
from .open_requests import OpenRequest, OpenRequests
from .relay import split_stream

__all__ = ["Client", "KernelLink", "LinkError", "Relief"]

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
MAX_STATUS_BYTES = 4096
OVERSIZED_SECONDS = 1.0
REPLY_HOLD_SECONDS, MAX_REPLY_HOLD_SECONDS = 1.0, 60.0
IOPUB_PROOF_SECONDS, MARK_SECONDS = 0.25, 2.0
LOST_REPLY_SECONDS = 5.0
_STATES = frozenset({"busy", "idle"})  # a late "starting" of the kernel's own would undo what `open` has proven
_SOCKET_TYPES = {"shell": "DEALER", "control": "DEALER", "stdin": "DEALER", "iopub": "SUB"}


Relief = Callable[[str], AsyncIterator[tuple[str, list[bytes]]]]
"""Gives what a kernel has sent while no gateway was there: channels and frames, until it spoke of the request named."""


class Client(Protocol):
    """Whoever is attached to a kernel: the seat of a WebSocket, a stream of results."""

    @property
    def present(self) -> bool:
        """Whether somebody reads what is delivered now."""

    def deliver(self, channel: str, parts: Parts) -> None:
        """Take one message; must not block and must not raise."""

    def end(self, reason: str) -> None:
        """The kernel is gone for good: close."""


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
        self.execution_state = "starting"
        self.last_activity = datetime.now(UTC)
        self.clients: set[Client] = set()
        self._own = self.session.encode()
        self._on_lost = on_lost
        self._log = log
        self._signer = Signer(b"")
        self._channels: dict[str, Channel] = {}
        self._calls = Calls()
        self._requests: OpenRequests[Client] = OpenRequests()
        self._iopub_proven = asyncio.Event()
        self._marker = b""
        self._heard_at = 0.0
        self.on_asked: Callable[[], None] = lambda: None
        self._oversized = 0
        self._oversized_told = 0.0

    async def open(self, directory: SocketDirectory, names: Mapping[str, str], key: bytes, timeout: float) -> None:
        """Connect, and return when the kernel has answered ``kernel_info`` and our subscription is proven.

        Raises `LinkError` when that does not happen within ``timeout`` seconds.
        """
        self._signer = Signer(key)
        self._iopub_proven.clear()
        self.execution_state = "starting"
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(self._connect(name, directory, names[name], timeout) for name in _SOCKET_TYPES))
                while not self._iopub_proven.is_set():
                    await self.call("shell", "kernel_info_request", {}, timeout)
                    try:
                        await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                    except TimeoutError:
                        self._log.debug("no iopub message yet; asking the kernel again")
        except (TimeoutError, ChannelError) as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel did not become ready within {timeout:g} s ({error})") from error
        self.execution_state = "idle"

    async def resume(
        self, directory: SocketDirectory, names: Mapping[str, str], key: bytes, relief: Relief, timeout: float
    ) -> None:
        """Connect to a kernel that an earlier process left, and return when nothing can be missed any more.

        What the kernel has said meanwhile comes from ``relief``, called with the id of a request: all until the kernel
        spoke of it. The kernel may be busy, or too busy to answer even on control; it is adopted all the same.
        ``clients`` are to be attached, and `inherit` called, before. Raises `LinkError` when it cannot be reached.
        """
        self._signer = Signer(key)
        self.execution_state = "busy"
        try:
            connecting = [self._connect(name, directory, names[name], timeout) for name in _SOCKET_TYPES]
            for name in ("shell", "stdin"):
                self._channels[name].pause()
            await asyncio.gather(*connecting)
            marker = await self._mark(MARK_SECONDS)
            async for channel, frames in relief(marker):
                if channel == "iopub":
                    self._on_iopub(frames)
                elif channel in _SOCKET_TYPES:
                    self._on_reply(channel, frames)
            for connection in self._channels.values():
                connection.resume()
            probe = self.post("shell", "kernel_info_request", {})
        except ChannelError as error:
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
            self._channels["control"].send(self._signer.frames(parts))
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
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self._calls.fail(reason)

    @property
    def connections(self) -> int:
        """How many clients are present; one that is away for a moment is still a client."""
        return sum(client.present for client in self.clients)

    def attach(self, client: Client) -> None:
        """Deliver what the kernel says to ``client`` from now on."""
        self.clients.add(client)

    def detach(self, client: Client) -> None:
        """Deliver nothing more to ``client``; its requests go on in the kernel."""
        self.clients.discard(client)
        self._requests.forget(client)

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message to the kernel; waits while the kernel does not read.

        Raises `LinkError` when the kernel is gone.
        """
        target = self._channels.get(channel)
        if target is None:
            raise LinkError(f"no kernel to send to on {channel!r}")
        if channel != "stdin" and self._requests.add(client, parts[0]):
            self.on_new_session()
        self.last_activity = datetime.now(UTC)
        try:
            target.send(self._signer.frames(parts))
        except ChannelError as error:
            raise LinkError(str(error)) from error
        self.on_asked()
        await target.drain()

    def post(self, channel: str, msg_type: str, content: Mapping[str, Any]) -> asyncio.Future[Reply]:
        """Send a request of the gateway's own and return the future of its reply; its iopub reaches no client."""
        target = self._channels.get(channel)
        if target is None:
            raise LinkError("the kernel is gone")
        msg_id, parts = build(msg_type, content, self.session)
        future = self._calls.expect(msg_id)
        try:
            target.send(self._signer.frames(parts))
        except ChannelError as error:
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
        _, parts = build(msg_type, content, self.session, parent_header)
        self._fan_out("iopub", parts)

    @property
    def heard_at(self) -> float:
        """When the kernel last said something on iopub, by the event loop's clock."""
        return self._heard_at

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
        executing = self._requests.executing()
        for request in executing:
            self.publish("stream", {"name": "stderr", "text": f"{words}\n"}, request.header)
        return [request.msg_id for request in executing]

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
        told = False
        for request in self._requests.drain():
            if request.kind == "execute_request" and not request.idle:
                told = True
                self.publish("stream", {"name": "stderr", "text": f"{reason}\n"}, request.header)
            if not request.idle:
                self.publish("status", {"execution_state": "idle"}, request.header)
            if held := self._requests.release(request):
                self._deliver(held.client, "shell", held.parts)
            elif not request.replied:
                self._answer(request, ename, reason)
        return told

    def _connect(
        self, channel: str, directory: SocketDirectory, name: str, timeout: float
    ) -> Coroutine[None, None, None]:
        on_message = self._on_iopub if channel == "iopub" else partial(self._on_reply, channel)
        connection = Channel(
            _SOCKET_TYPES[channel],
            on_message,
            partial(self._on_oversized, channel),
            self._lost,
            identity=self.identity,
            max_bytes=MAX_MESSAGE_BYTES,
        )
        self._channels[channel] = connection
        return connection.connect(directory, name, timeout)

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
                self._channels["iopub"].pause()
            return
        kind = message_type(parts) if parts else None
        if parts is None or kind is None:
            self._log.debug("the kernel published what is no message")
            return
        self._requests.heard_of(parts[1])
        own = self._own in parts[1]
        state = json_object(parts[3], MAX_STATUS_BYTES).get("execution_state") if kind == "status" else None
        if isinstance(state, str) and state in _STATES and not own:
            self.execution_state = state
            self.last_activity = datetime.now(UTC)
        if own or kind == "iopub_welcome":
            return
        if self.clients:
            for piece in split_stream(parts) if kind == "stream" else (parts,):
                self._fan_out("iopub", piece)
        if state != "idle":
            return
        if held := self._requests.idle(parts[1]):
            self._deliver(held.client, "shell", held.parts)
        elif lost := self._requests.unanswered(parts[1]):
            asyncio.get_running_loop().call_later(LOST_REPLY_SECONDS, self._reply_lost, lost)

    def _on_reply(self, channel: str, frames: list[bytes]) -> None:
        parts = parts_of(frames)
        if parts is None or message_type(parts) is None:
            self._log.debug("the kernel replied what is no message")
            return
        if self._own in parts[1] and self._calls.answer(str(json_object(parts[1]).get("msg_id")), parts):
            return
        if channel == "stdin":
            if client := self._requests.client_of(parts[1]):
                self._deliver(client, channel, parts)
            return
        self._requests.heard_of(parts[1])
        now, held = self._requests.reply(parts)
        if now:
            self._deliver(now.client, channel, now.parts)
        elif held:
            self._release_later(held, asyncio.get_running_loop().time())

    def _release_later(self, request: OpenRequest[Client], since: float) -> None:
        """Give a held reply up to its client when iopub has been silent for a while: its ``idle`` will not come.

        While output still arrives the reply waits on, because a client stops reading at it.
        """
        loop, iopub = asyncio.get_running_loop(), self._channels.get("iopub")
        heard_at = max(self._heard_at, iopub.heard_at if iopub else 0.0, since)
        until = min(heard_at + REPLY_HOLD_SECONDS, since + MAX_REPLY_HOLD_SECONDS)
        if request.held is not None and loop.time() < until:
            loop.call_at(until, self._release_later, request, since)
            return
        if held := self._requests.release(request):
            self._deliver(held.client, "shell", held.parts)

    def _reply_lost(self, request: OpenRequest[Client]) -> None:
        """Answer for a kernel that is done with an execution and does not: ipykernel, interrupted while it replies."""
        if self._requests.give_up(request):
            self._answer(request, "ReplyLost", "The kernel was done with this, but did not answer.")

    def _answer(self, request: OpenRequest[Client], ename: str, reason: str) -> None:
        error: dict[str, Any] = {"status": "error", "ename": ename, "evalue": reason, "traceback": []}
        if request.kind == "execute_request":
            error["execution_count"] = 0
        reply = request.kind.removesuffix("_request") + "_reply"
        self._deliver(request.client, "shell", build(reply, error, self.session, request.header)[1])

    def _fan_out(self, channel: str, parts: Parts) -> None:
        for client in tuple(self.clients):
            self._hand(client, channel, parts)

    def _deliver(self, client: Client, channel: str, parts: Parts) -> None:
        if client in self.clients:
            self._hand(client, channel, parts)

    def _hand(self, client: Client, channel: str, parts: Parts) -> None:
        """Deliver to one client. A defect there, which a sandbox may provoke, must not end the connection for all."""
        try:
            client.deliver(channel, parts)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            self._log.exception("a client could not take a message on %s, and is left out", channel)
            self.detach(client)
            client.end("the gateway failed to deliver a message; its log has the cause")

    def _on_oversized(self, channel: str, event: zmtp.Oversized) -> None:
        """Tell of a message that was passed over; of many, once a second with their number."""
        self._oversized += 1
        now = asyncio.get_running_loop().time()
        if now - self._oversized_told < OVERSIZED_SECONDS:
            return
        count, self._oversized, self._oversized_told = self._oversized, 0, now
        limits = f"{MAX_MESSAGE_BYTES // 2**20} MiB and {event.max_frames} frames"
        more = f" ({count - 1} more before it)" if count > 1 else ""
        words = f"A message of {event.size / 2**20:.0f} MiB was dropped{more}: a message may have {limits}."
        self._log.warning("%s: %s", channel, words)
        parts = parts_of([*event.frames, b"", b"", b"", b"", b""])
        parent = parts[1] if parts and json_object(parts[1]) else EMPTY
        self.publish("stream", {"name": "stderr", "text": words + "\n"}, parent)
