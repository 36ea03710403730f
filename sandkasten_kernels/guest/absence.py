"""The time in which no gateway is there: whether it is so, what the next one has to know, and who stands in for it."""

from __future__ import annotations

from typing import Any

from .placeholder import Placeholder
from .sockets import Sockets

MAX_PIECE_BYTES = 512 * 1024


class GatewayAbsence:
    """Begins when the gateway has gone, and ends when one has taken all that waited for it.

    ``note`` is what the gateway wants the next one to know; its ``identity`` is that of the gateway's own sockets.
    """

    def __init__(self, sockets: Sockets) -> None:
        self.away = False
        self.note: dict[str, Any] = {}
        self._sockets = sockets
        self._stand_in: Placeholder | None = None

    def begin(self, kernel: str) -> None:
        """The gateway has gone; ``kernel`` is the first word of the files of the one that runs, empty for none."""
        self.away = True
        identity = self.note.get("identity")
        if kernel and isinstance(identity, str):
            if not self._stand_in:
                self._stand_in = self._sockets.stand_in(kernel)
            self._stand_in.take(identity.encode())

    def piece(self, content: dict[str, Any]) -> tuple[bytes, bool]:
        """Return what waits for the gateway, at most `MAX_PIECE_BYTES`, and whether there is more.

        ``content`` has the ``marker`` up to which it wants to have it; ``end`` where it wants no more.
        """
        if self._stand_in and not content.get("end"):
            data, done = self._stand_in.piece(str(content.get("marker", "")).encode(), MAX_PIECE_BYTES)
            if not done:
                return data, True
        else:
            data = b""
        if self._stand_in:
            self._stand_in.close()
            self._stand_in = None
        self.away = False
        return data, False
