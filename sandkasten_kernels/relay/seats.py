"""Seats: a client's place at a kernel, which outlives the client's connection.

As in a theatre a seat belongs to a client, not to the door it came in by. A client that steps out for a moment (a
closed lid, a new network) finds its seat again, with the messages that came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..protocol import Parts
from .link import KernelLink
from .replay import Message, ReplayBuffer

__all__ = ["Connection", "Seat", "Seats"]

AWAY_SECONDS = 120.0
MAX_AWAY = 16


class Connection(Protocol):
    """The WebSocket that sits in a seat. ``client`` identifies its client: address and program."""

    client: str

    def deliver(self, channel: str, parts: Parts) -> None:
        """Take one message; must not block and must not raise."""

    def end(self, reason: str) -> None:
        """Close: the kernel is gone for good."""

    def hand_over(self) -> Sequence[Message]:
        """Close, because the same client has a newer connection; return the messages not delivered yet."""


class Seat:
    """A client of a kernel link. While no connection sits here, messages wait for the next one."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.connection: Connection | None = None
        self.replay = ReplayBuffer()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def present(self) -> bool:
        """Whether there is a connection."""
        return self.connection is not None

    def deliver(self, channel: str, parts: Parts) -> None:
        """Deliver a message of the kernel to the connection, or keep it for the next one."""
        if self.connection is not None:
            self.connection.deliver(channel, parts)
        else:
            self.replay.keep([(channel, parts)])

    def end(self, reason: str) -> None:
        """Close: the kernel is gone for good."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.end(reason)
        if self.timer is not None:
            self.timer.cancel()


class Seats:
    """The seats of one kernel.

    A client that names its ``session_id`` keeps its seat for `AWAY_SECONDS` after it has lost its connection. At most
    `MAX_AWAY` empty seats are kept, the newest. A client without a ``session_id`` loses its seat at once.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._named: dict[str, Seat] = {}

    @property
    def clients(self) -> dict[str, str]:
        """The ``session_id`` of each named seat by its client's Jupyter sessions: the input of `restore`."""
        seats = ((session, client) for session, client in self._link.sessions.items() if isinstance(client, Seat))
        return {session: seat.session_id for session, seat in seats if seat.session_id}

    def restore(self, clients: Mapping[str, str]) -> None:
        """Make the seats that clients had in an earlier process, empty and for `AWAY_SECONDS`; messages wait there."""
        for session_id in list(dict.fromkeys(clients.values()))[-MAX_AWAY:]:
            seat = self._named[session_id] = Seat(session_id)
            seat.timer = asyncio.get_running_loop().call_later(AWAY_SECONDS, self._forget, seat)
            self._link.attach(seat)
        self._link.inherit({one: self._named[name] for one, name in clients.items() if name in self._named})

    def take(self, connection: Connection, session_id: str) -> Seat:
        """Seat a connection, and deliver the messages that wait there. An older connection of the client is closed."""
        seat = self._named.get(session_id) or Seat(session_id)
        if session_id:
            self._named[session_id] = seat
        if seat.timer is not None:
            seat.timer.cancel()
            seat.timer = None
        older, seat.connection = seat.connection, connection
        # Before `attach`: what was missed must come ahead of newer messages.
        for message in [*(older.hand_over() if older is not None else ()), *seat.replay.take()]:
            connection.deliver(*message)
        self._link.attach(seat)
        return seat

    def leave(self, seat: Seat, connection: Connection, undelivered: Sequence[Message]) -> None:
        """Keep the seat of a lost connection for a while; no-op when another connection sits there by now."""
        if seat.connection is not connection:
            return
        seat.connection = None
        # Nobody can come back to a seat without a name.
        if not seat.session_id:
            self._link.detach(seat)
            return
        seat.replay.keep(undelivered)
        seat.timer = asyncio.get_running_loop().call_later(AWAY_SECONDS, self._forget, seat)
        away = [other for other in self._named.values() if not other.present and other.timer is not None]
        if len(away) > MAX_AWAY:
            # The seat that has been empty longest.
            self._forget(min(away, key=lambda other: other.timer.when() if other.timer else 0.0))

    def close(self, client: str, reason: str) -> None:
        """Close the connections of one client, by its address and program; the client may connect again."""
        for seat in [seat for seat in self._link.clients if isinstance(seat, Seat)]:
            if seat.connection is not None and seat.connection.client == client:
                seat.connection.end(reason)

    def _forget(self, seat: Seat) -> None:
        if seat.timer is not None:
            seat.timer.cancel()
        del self._named[seat.session_id]
        self._link.detach(seat)
