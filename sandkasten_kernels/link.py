"""KernelLink: the gateway's one end of one kernel, and the fan-out of what the kernel says.

One set of sockets for each kernel, subscribed while the kernel is still in the pool. Every client (a WebSocket, a
stream) attaches to the link; iopub goes to all of them, a reply to the one that asked.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from . import zmtp
from .calls import Calls, LinkError
from .channel import Channel, ChannelError, SocketDirectory
from .messages import EMPTY, Parts, Reply, Signer, build, json_object, message_type, parts_of
from .relay import split_stream

__all__ = ["Client", "KernelLink", "LinkError"]

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
MAX_OPEN_REQUESTS = 4096
REPLY_HOLD_SECONDS = 1.0
IOPUB_PROOF_SECONDS = 0.25
_SOCKET_TYPES = {"shell": "DEALER", "control": "DEALER", "stdin": "DEALER", "iopub": "SUB"}


class Client(Protocol):
    """Whoever is attached to a kernel: a WebSocket, a stream of results."""

    def deliver(self, channel: str, parts: Parts) -> None:
        """Take one message; must not block and must not raise."""


@dataclass
class _Request:
    """A client's request that is not done: done is replied to *and* idle."""

    client: Client
    header: bytes
    is_execute: bool
    idle: bool = False
    replied: bool = False
    held: tuple[str, Parts] | None = None


class KernelLink:
    """Connects to a kernel, asks it, and carries its clients' messages.

    Invariants: an ``execute_reply`` reaches its client after the iopub ``idle`` of the same request (held for at most
    `REPLY_HOLD_SECONDS`); messages that answer the gateway's own requests reach no client; at most
    `MAX_OPEN_REQUESTS` requests are remembered.

    Parameters
    ----------
    on_lost: called once when the kernel's side ends a connection.
    """

    def __init__(self, on_lost: Callable[[], None], log: logging.Logger) -> None:
        self.session = uuid.uuid4().hex
        self.identity = uuid.uuid4().hex.encode()
        self.execution_state = "starting"
        self.last_activity = datetime.now(UTC)
        self.clients: set[Client] = set()
        self.info: dict[str, Any] = {}
        self._own = self.session.encode()
        self._on_lost = on_lost
        self._log = log
        self._signer = Signer(b"")
        self._channels: dict[str, Channel] = {}
        self._calls = Calls()
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._sessions: dict[str, Client] = {}
        self._iopub_proven = asyncio.Event()

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
                    self.info = (await self.call("shell", "kernel_info_request", {}, timeout)).content
                    try:
                        await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                    except TimeoutError:
                        self._log.debug("no iopub message yet; asking the kernel again")
        except (TimeoutError, ChannelError) as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel did not become ready within {timeout:g} s ({error})") from error
        self.execution_state = "idle"

    def close(self, reason: str) -> None:
        """End the connections; clients stay attached, and requests under way end with ``reason``."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self._calls.fail(reason)

    def attach(self, client: Client) -> None:
        """Deliver what the kernel says to ``client`` from now on."""
        self.clients.add(client)

    def detach(self, client: Client) -> None:
        """Deliver nothing more to ``client``; its requests go on in the kernel."""
        self.clients.discard(client)
        self._sessions = {name: other for name, other in self._sessions.items() if other is not client}

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message to the kernel; waits while the kernel does not read.

        Raises `LinkError` when the kernel is gone.
        """
        target = self._channels.get(channel)
        if target is None:
            raise LinkError(f"no kernel to send to on {channel!r}")
        header = json_object(parts[0])
        msg_id, session, kind = header.get("msg_id"), header.get("session"), header.get("msg_type")
        if isinstance(session, str):
            self._sessions[session] = client
        if isinstance(msg_id, str) and str(kind).endswith("_request"):
            self._requests[msg_id] = _Request(client, parts[0], kind == "execute_request")
            if len(self._requests) > MAX_OPEN_REQUESTS:
                self._requests.popitem(last=False)
        self.last_activity = datetime.now(UTC)
        try:
            target.send(self._signer.frames(parts))
        except ChannelError as error:
            raise LinkError(str(error)) from error
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

    def fail_open_requests(self, ename: str, reason: str) -> int:
        """End every request that waits for the kernel: words on stderr, idle, an error reply; so no client hangs.

        Returns how many clients were told so in an execution of theirs.
        """
        told = 0
        for request in self._requests.values():
            if request.is_execute and not (request.replied and request.idle):
                told += 1
                self.publish("stream", {"name": "stderr", "text": f"{reason}\n"}, request.header)
                self.publish("status", {"execution_state": "idle"}, request.header)
                error = {
                    "status": "error",
                    "ename": ename,
                    "evalue": reason,
                    "traceback": [],
                    "execution_count": 0,
                }
                _, parts = build("execute_reply", error, self.session, request.header)
                self._deliver(request.client, "shell", request.held[1] if request.held else parts)
                request.held = None
        self._requests.clear()
        return told

    async def _connect(self, channel: str, directory: SocketDirectory, name: str, timeout: float) -> None:
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
        await connection.connect(directory, name, timeout)

    def _lost(self) -> None:
        self.close("the kernel ended the connection")
        self._on_lost()

    def _on_iopub(self, frames: list[bytes]) -> None:
        self._iopub_proven.set()
        parts = parts_of(frames)
        kind = message_type(parts) if parts else None
        if parts is None or kind is None:
            self._log.debug("the kernel published what is no message")
            return
        own = self._own in parts[1]
        request: _Request | None = None
        idle = False
        if kind == "status":
            state = json_object(parts[3]).get("execution_state")
            if isinstance(state, str) and not own:
                self.execution_state = state
                self.last_activity = datetime.now(UTC)
            idle = state == "idle"
            if idle:
                request = self._requests.get(_msg_id(parts[1]))
        if own or kind == "iopub_welcome":
            return
        for piece in split_stream(parts) if kind == "stream" else (parts,):
            self._fan_out("iopub", piece)
        if request and idle:
            request.idle = True
            self._settle(_msg_id(parts[1]), request)

    def _on_reply(self, channel: str, frames: list[bytes]) -> None:
        parts = parts_of(frames)
        if parts is None or message_type(parts) is None:
            self._log.debug("the kernel replied what is no message")
            return
        parent = json_object(parts[1])
        msg_id = parent.get("msg_id")
        if not isinstance(msg_id, str):
            return
        if self._calls.answer(msg_id, parts):
            return
        request = self._requests.get(msg_id)
        if request is None:
            if client := self._sessions.get(str(parent.get("session"))):
                self._deliver(client, channel, parts)
            return
        if channel == "stdin":
            self._deliver(request.client, channel, parts)
            return
        request.replied = True
        if request.is_execute and not request.idle:
            request.held = (channel, parts)
            asyncio.get_running_loop().call_later(REPLY_HOLD_SECONDS, self._release, request)
            return
        self._deliver(request.client, channel, parts)
        self._settle(msg_id, request)

    def _settle(self, msg_id: str, request: _Request) -> None:
        self._release(request)
        if request.idle and request.replied:
            self._requests.pop(msg_id, None)

    def _release(self, request: _Request) -> None:
        if request.held:
            (channel, parts), request.held = request.held, None
            self._deliver(request.client, channel, parts)

    def _fan_out(self, channel: str, parts: Parts) -> None:
        for client in tuple(self.clients):
            client.deliver(channel, parts)

    def _deliver(self, client: Client, channel: str, parts: Parts) -> None:
        if client in self.clients:
            client.deliver(channel, parts)

    def _on_oversized(self, channel: str, event: zmtp.Oversized) -> None:
        limit = MAX_MESSAGE_BYTES // 2**20
        words = f"A message of {event.size / 2**20:.0f} MiB was dropped: the limit is {limit} MiB for one message."
        parts = parts_of([*event.frames, b"", b"", b"", b"", b""])
        parent = parts[1] if parts else b""
        self._log.warning("%s: %s", channel, words)
        self.publish("stream", {"name": "stderr", "text": words + "\n"}, parent if json_object(parent) else EMPTY)


def _msg_id(header: bytes) -> str:
    return str(json_object(header).get("msg_id"))
