"""KernelLink: the gateway's connection to one kernel.

Each kernel has one set of sockets, connected while the kernel is still in the pool. Every client, a WebSocket or a
stream, attaches to the link. iopub messages go to all clients, a reply to the one that sent the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from ..callbacks import Callbacks
from ..protocol import EMPTY, Endpoint, Parts, Reply, SocketError, build, parts_of
from .backlog import Backlog
from .calls import Calls, LinkError
from .channels import KernelChannels, OversizedNotices
from .clients import Client, Clients
from .dispatch import Dispatcher
from .replies import Replies
from .requests import OpenRequests

__all__ = ["Client", "KernelLink", "LinkError"]

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
IOPUB_PROOF_SECONDS, MARK_SECONDS = 0.25, 2.0


class KernelLink:
    """Connects to a kernel, sends the gateway's own requests, and carries its clients' messages.

    `OpenRequests` finds the client of a reply. Answers to the gateway's own requests reach no client.

    Parameters
    ----------
    on_lost: called once when the kernel's side closes a connection.
    identity, session: ZMTP identity and Jupyter session of the link of an earlier process; empty for new ones.

    Attributes
    ----------
    execution_state: ``starting``, ``busy`` or ``idle`` as the kernel reports it; ``restarting`` or ``dead``.
    last_activity: when a client last sent a message, or the kernel's state last changed for a client.
    """

    def __init__(
        self, on_lost: Callable[[], None], log: logging.Logger, *, identity: str = "", session: str = ""
    ) -> None:
        self.session = session or uuid.uuid4().hex
        self.identity = (identity or uuid.uuid4().hex).encode()
        self.execution_state = "starting"
        self.last_activity = datetime.now(UTC)
        self._on_lost = on_lost
        self._log = log
        self._calls = Calls()
        self._new_session: Callbacks[[]] = Callbacks()
        self._requested: Callbacks[[]] = Callbacks()
        self._requests: OpenRequests[Client] = OpenRequests()
        self._clients = Clients(self.session, self._requests.forget, log)
        self._replies = Replies(self._requests, self._clients, lambda: self.heard_at)
        oversized = OversizedNotices(MAX_MESSAGE_BYTES)
        self._dispatcher = Dispatcher(
            self._calls, self._requests, self._clients, self._replies, oversized, self._on_state, log
        )
        self._channels = KernelChannels(
            self.identity,
            MAX_MESSAGE_BYTES,
            self._on_iopub,
            self._dispatcher.reply,
            self._dispatcher.oversized,
            self._lost,
        )
        self._iopub_proven = asyncio.Event()
        self._marker = b""
        self._heard_at = 0.0

    def on_new_session(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` whenever a client's message carries a Jupyter session that the link did not know."""
        self._new_session.add(callback)

    def on_request(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` whenever a client's message was sent."""
        self._requested.add(callback)

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
                    # Its `status` on iopub proves the subscription, which takes effect in the kernel a little later.
                    await self.call("shell", "kernel_info_request", {}, timeout)
                    try:
                        await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                    except TimeoutError:
                        self._log.debug("no iopub message yet; sending another kernel_info_request")
        except (TimeoutError, SocketError) as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel did not become ready within {timeout:g} s ({error})") from error
        self.execution_state = "idle"

    async def resume(
        self, endpoint: Endpoint, names: Mapping[str, str], key: bytes, backlog: Backlog, timeout: float
    ) -> None:
        """Connect to a kernel that an earlier process left; return when no message can be lost any more.

        ``backlog`` is called with the id of a request of the link's own, and yields what the kernel has sent meanwhile,
        up to its first message about that request. The kernel may be busy, even too busy to answer on control. Attach
        the clients and call `inherit` before, because the backlog is delivered to them. Raises `LinkError` when the
        kernel cannot be connected.
        """
        self.execution_state = "busy"
        try:
            # Replies wait until the backlog is delivered, else they would overtake the output that belongs to them.
            await self._channels.open(endpoint, names, key, timeout, paused=("shell", "stdin"))
            marker = await self._mark(MARK_SECONDS)
            async for channel, frames in backlog(marker):
                if channel == "iopub":
                    self._on_iopub(frames)
                elif channel in KernelChannels.names:
                    self._dispatcher.reply(channel, frames)
            self._channels.resume()
            probe = self.post("shell", "kernel_info_request", {})  # answered after every earlier request
        except SocketError as error:
            self.close("the kernel does not answer")
            raise LinkError(f"the kernel cannot be reached: {error}") from error
        probe.add_done_callback(self._caught_up)
        await asyncio.wait({probe}, timeout=IOPUB_PROOF_SECONDS)

    def inherit(self, sessions: Mapping[str, Client]) -> None:
        """Let these clients get the replies to an earlier process's requests, by the requests' Jupyter sessions."""
        self._requests.inherit(sessions)

    @property
    def sessions(self) -> Mapping[str, Client]:
        """The clients that have sent a message, by the Jupyter sessions in their headers."""
        return self._requests.sessions

    async def _mark(self, timeout: float) -> str:
        """Send a request, and return its id when the kernel has mentioned it on iopub, which is then paused.

        Empty when the kernel does not within ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        self._iopub_proven.clear()
        while loop.time() < give_up:
            # Again and again: our subscription may take effect only after the first request.
            msg_id, parts = build("kernel_info_request", {}, self.session)
            self._marker = msg_id.encode()
            self._channels.send("control", parts)  # a busy kernel answers on control alone
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._iopub_proven.wait(), IOPUB_PROOF_SECONDS)
                return msg_id
        self._marker = b""
        return ""

    def _caught_up(self, probe: asyncio.Future[Reply]) -> None:
        """Forget unanswered requests of the earlier process: the kernel has answered one that came after them."""
        if not probe.cancelled() and not probe.exception():
            self._requests.inherited()
            self.execution_state = "idle"

    def close(self, reason: str) -> None:
        """Close the connections. Clients stay attached; the gateway's own requests fail with ``reason``."""
        self._channels.close()
        self._calls.fail(reason)

    @property
    def clients(self) -> Set[Client]:
        """The clients that are attached."""
        return self._clients.clients

    @property
    def connections(self) -> int:
        """How many clients are connected; one that is away for a moment is attached, but does not count."""
        return self._clients.present

    def attach(self, client: Client) -> None:
        """Deliver the kernel's messages to ``client`` from now on."""
        self._clients.attach(client)

    def detach(self, client: Client) -> None:
        """Deliver nothing more to ``client``; its requests still run in the kernel."""
        self._clients.detach(client)

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message to the kernel, and wait while the kernel does not read.

        Raises `LinkError` when the kernel is gone.
        """
        if channel not in self._channels:
            raise LinkError(f"the kernel has no open channel {channel!r}")
        # A message on stdin answers a question of the kernel, so it opens no request.
        if channel != "stdin" and self._requests.add(client, parts[0]):
            self._new_session()
        self.last_activity = datetime.now(UTC)
        try:
            self._channels.send(channel, parts)
        except SocketError as error:
            raise LinkError(str(error)) from error
        self._requested()
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
        self._clients.publish(msg_type, content, parent_header)

    @property
    def heard_at(self) -> float:
        """When the kernel last sent a byte on iopub, by the event loop's clock."""
        return max(self._heard_at, self._channels.heard_at("iopub"))

    @property
    def waiting(self) -> bool:
        """Whether a client's request is not done."""
        return bool(self._requests)

    def executing(self) -> list[tuple[str, bytes]]:
        """Return ids and headers of the executions that are not done, first the one that came first."""
        return [(request.msg_id, request.header) for request in self._requests.executing()]

    def refuse(self, client: Client, parts: Parts, ename: str, reason: str) -> None:
        """Answer a client's message to a dead kernel with an error and ``idle``."""
        self._requests.add(client, parts[0])
        self.fail_open_requests(ename, reason)

    def write_to_executions(self, line: str) -> list[str]:
        """Write a line to the stderr of every execution that is not done; return the ids of their requests."""
        return self._replies.write_to_executions(line)

    def announce_end(self, ename: str, message: str, state: str) -> None:
        """End every open request with ``message``, and send the kernel's new ``state`` to every client.

        If no execution was open, every client gets the message as stderr output without a request.
        """
        self.execution_state = state
        if not self.fail_open_requests(ename, message):
            self.publish("stream", {"name": "stderr", "text": f"{message}\n"})
        self.publish("status", {"execution_state": state})

    def fail_open_requests(self, ename: str, reason: str) -> bool:
        """Answer every open request with an error and ``idle``, so that no client waits for ever.

        Returns whether there was an execution among them; ``reason`` is on its stderr too.
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
        if self._marker:  # the backlog has the messages before the marker
            if parts and self._marker in parts[1]:
                self._marker = b""
                self._iopub_proven.set()
                self._channels.pause("iopub")  # newer messages wait for the backlog
            return
        self._dispatcher.iopub(parts)

    def _on_state(self, state: str) -> None:
        self.execution_state = state
        self.last_activity = datetime.now(UTC)
