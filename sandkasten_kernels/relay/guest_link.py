"""GuestLink: the gateway's connection to one guest."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..protocol import Endpoint, Reply, Signer, SocketError, ZmtpSocket, build, json_object, message_type, zmtp
from .calls import Calls, LinkError

__all__ = ["MAX_DATA_BYTES", "GuestLink"]

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_DATA_BYTES = 512 * 1024
CONNECT_SECONDS = 10.0
DEFAULT_NAMES: Mapping[str, str] = MappingProxyType({"control": "guest-control", "iopub": "guest-iopub"})


class GuestLink:
    """Sends requests to the guest of one sandbox, and receives what it publishes.

    Messages without the guest's signature are ignored: code in the sandbox can replace the guest's sockets by its own
    before a later gateway process connects to them.

    Parameters
    ----------
    key: signs the messages of both sides.
    on_message: called with type and content of every message on the guest's iopub.
    on_lost: called once when the guest closes a connection.
    """

    def __init__(
        self, key: bytes, on_message: Callable[[str, dict[str, Any]], None], on_lost: Callable[[], None]
    ) -> None:
        self._session = uuid.uuid4().hex
        self._signer = Signer(key)
        self._calls = Calls()
        self._on_message = on_message
        self._on_lost = on_lost
        identity = uuid.uuid4().hex.encode()
        limits: dict[str, Any] = {"identity": identity, "max_bytes": MAX_MESSAGE_BYTES}
        self._control = ZmtpSocket("DEALER", self._on_control, self._on_oversized, self._lost, **limits)
        self._iopub = ZmtpSocket("SUB", self._on_iopub, self._on_oversized, self._lost, **limits)

    async def open(self, endpoint: Endpoint, names: Mapping[str, str] = DEFAULT_NAMES) -> None:
        """Connect to the sockets with these names. Raises `LinkError` when the guest does not answer."""
        names = {**DEFAULT_NAMES, **names}
        try:
            await asyncio.gather(
                self._control.connect(endpoint, names["control"], CONNECT_SECONDS),
                self._iopub.connect(endpoint, names["iopub"], CONNECT_SECONDS),
            )
        except SocketError as error:
            self.close()
            raise LinkError(f"the guest does not answer: {error}") from error

    def close(self) -> None:
        """Close the connections; open calls fail. A second call does nothing."""
        self._control.close()
        self._iopub.close()
        self._calls.fail("the guest is gone")

    def post(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Send a request without waiting for its reply. Raises `LinkError` when the guest is gone."""
        try:
            self._control.send(self._signer.frames(build(msg_type, content, self._session)[1]))
        except SocketError as error:
            raise LinkError(f"the guest is gone: {error}") from error

    async def call(self, msg_type: str, content: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Return the content of the guest's reply.

        Raises `LinkError` for an error reply (with the guest's message), after ``timeout`` seconds, and when the guest
        is gone.
        """
        answer = (await self.ask(msg_type, content, timeout)).content
        if answer.get("status") != "ok":
            message = str(answer.get("evalue"))
            if last := str(answer.get("stderr") or "").strip().rpartition("\n")[2]:
                # From a sandbox: escape sequences must not reach a terminal through a log.
                message += f": {''.join(c if c.isprintable() else '?' for c in last[:300])}"
            raise LinkError(message)
        return answer

    async def signal(self, number: signal.Signals, timeout: float) -> None:
        """Send a signal to the kernel's process and every process that it has started. Raises `LinkError`."""
        await self.call("kernel_signal_request", {"signum": int(number)}, timeout)

    async def ask(self, msg_type: str, content: Mapping[str, Any], timeout: float, data: bytes = b"") -> Reply:
        """Return the guest's reply, also an error reply.

        ``data`` is an extra frame of at most `MAX_DATA_BYTES`; the reply may have one as long. Raises `LinkError` after
        ``timeout`` seconds, and when the guest is gone.
        """
        return await self.reply(self.request(msg_type, content, data), msg_type, timeout)

    def request(self, msg_type: str, content: Mapping[str, Any], data: bytes = b"") -> asyncio.Future[Reply]:
        """Send a request now, as `ask` does, and return the future of its reply, which may be cancelled.

        Raises `LinkError` when the guest is gone.
        """
        msg_id, parts = build(msg_type, content, self._session)
        reply = self._calls.expect(msg_id)
        try:
            self._control.send(self._signer.frames([*parts, data] if data else parts))
        except SocketError as error:
            reply.cancel()
            raise LinkError(f"the guest is gone: {error}") from error
        return reply

    async def reply(self, reply: asyncio.Future[Reply], msg_type: str, timeout: float) -> Reply:
        """Wait for the reply to a `request`. Raises `LinkError` after ``timeout`` seconds or when the guest is gone."""
        try:
            return await asyncio.wait_for(reply, timeout)
        except TimeoutError as error:
            raise LinkError(f"the guest did not answer {msg_type} within {timeout:g} s") from error

    def _on_control(self, frames: list[bytes]) -> None:
        if parts := self._signer.signed(frames):
            self._calls.answer(str(json_object(parts[1]).get("msg_id")), parts)

    def _on_iopub(self, frames: list[bytes]) -> None:
        if (parts := self._signer.signed(frames)) and (kind := message_type(parts)):
            self._on_message(kind, json_object(parts[3]))

    def _on_oversized(self, event: zmtp.Oversized) -> None:
        self._lost()  # our guest never sends such a message: the sandbox is not to be trusted any more

    def _lost(self) -> None:
        self.close()
        self._on_lost()
