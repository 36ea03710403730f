"""EventReader: a parser of server-sent events, without I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["EventReader", "ServerEvent"]


class ServerEvent(NamedTuple):
    """One event: its name, its data, and its id, empty for none."""

    name: str
    data: str
    id: str


class EventReader:
    """Yields each event once its last byte has arrived. Only LF and CR LF end a line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._fields: dict[str, list[str]] = {}

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """Yield the events that these bytes complete."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, self._rest = bytes(self._rest) + line, bytearray()
            if event := self._line(whole.removesuffix(b"\r").decode("utf-8", "replace")):
                yield event
        self._rest += rest

    def _line(self, line: str) -> ServerEvent | None:
        if line:
            name, _, value = line.partition(":")
            # a line that begins with a colon is a comment, such as the gateway's heartbeat
            if name:
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return ServerEvent(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), fields.get("id", [""])[-1])
