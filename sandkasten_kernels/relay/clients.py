"""Clients: the receivers of one kernel's messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..protocol import EMPTY, Parts, build

__all__ = ["Client", "Clients"]


class Client(Protocol):
    """A receiver of a kernel's messages: the seat of a WebSocket, or a stream of results."""

    @property
    def present(self) -> bool:
        """Whether a connection reads the messages now."""

    def deliver(self, channel: str, parts: Parts) -> None:
        """Take one message; must not block and must not raise."""

    def end(self, reason: str) -> None:
        """The kernel is gone for good: close."""


class Clients:
    """Delivers messages to clients. A client that raises is detached, because one must not stop the delivery for all.

    A sandbox may provoke such an exception by an odd message.

    Parameters
    ----------
    session: Jupyter session of the gateway's own messages.
    on_left: called with each client that was detached.
    """

    def __init__(self, session: str, on_left: Callable[[Client], None], log: logging.Logger) -> None:
        self.session = session
        self.clients: set[Client] = set()
        self._on_left = on_left
        self._log = log

    @property
    def present(self) -> int:
        """How many clients are connected; one that is away for a moment is attached, but does not count."""
        return sum(client.present for client in self.clients)

    def attach(self, client: Client) -> None:
        """Deliver to ``client`` from now on."""
        self.clients.add(client)

    def detach(self, client: Client) -> None:
        """Deliver nothing more to ``client``."""
        self.clients.discard(client)
        self._on_left(client)

    def publish(self, msg_type: str, content: Mapping[str, Any], parent_header: bytes = EMPTY) -> None:
        """Send an iopub message of the gateway's own to every client."""
        _, parts = build(msg_type, content, self.session, parent_header)
        self.fan_out("iopub", parts)

    def fan_out(self, channel: str, parts: Parts) -> None:
        """Deliver a message to every client."""
        # A copy: a client that raises is detached inside the loop.
        for client in tuple(self.clients):
            self._deliver(client, channel, parts)

    def deliver(self, client: Client, channel: str, parts: Parts) -> None:
        """Deliver a message to one client; no-op when it is detached."""
        if client in self.clients:
            self._deliver(client, channel, parts)

    def _deliver(self, client: Client, channel: str, parts: Parts) -> None:
        try:
            client.deliver(channel, parts)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            self._log.exception("a client raised an exception at a message on %s, and is detached", channel)
            self.detach(client)
            client.end("the gateway failed to deliver a message; its log has the cause")
