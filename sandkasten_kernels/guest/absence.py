"""GatewayAbsence: the time without a gateway. It keeps a note for the next gateway, and the placeholder."""

from __future__ import annotations

from typing import Any

from .placeholder import Placeholder
from .sockets import Sockets

MAX_PIECE_BYTES = 512 * 1024


class GatewayAbsence:
    """Begins when the gateway disconnects, and ends when a gateway has read the whole backlog.

    Attributes
    ----------
    away: whether no gateway is connected, or the connected one has not read the backlog yet.
    note: an object that one gateway leaves for the next; its ``identity`` is the identity of the gateway's sockets.
    """

    def __init__(self, sockets: Sockets) -> None:
        self.away = False
        self.note: dict[str, Any] = {}
        self._sockets = sockets
        self._placeholder: Placeholder | None = None

    def begin(self, kernel: str) -> None:
        """Begin the absence. ``kernel``: the prefix of the running kernel's files, empty for none."""
        self.away = True
        identity = self.note.get("identity")
        if kernel and isinstance(identity, str):
            if not self._placeholder:
                self._placeholder = self._sockets.stand_in(kernel)
            self._placeholder.take(identity.encode())

    def piece(self, content: dict[str, Any]) -> tuple[bytes, bool]:
        """Return the next piece of the backlog, at most `MAX_PIECE_BYTES`, and whether there is more.

        ``content``: of the request. The backlog ends at the message with its ``marker``. With ``end`` the gateway wants
        no more. After the last piece the absence ends.
        """
        if self._placeholder and not content.get("end"):
            data, done = self._placeholder.piece(str(content.get("marker", "")).encode(), MAX_PIECE_BYTES)
            if not done:
                return data, True
        else:
            data = b""
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None
        self.away = False
        return data, False
