"""Server-sent events taken from bytes as they arrive; without I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["EventReader", "ServerEvent"]


class ServerEvent(NamedTuple):
    """One event: its name, its data as text, and its id, empty where it has none."""

    name: str
    data: str
    id: str


class EventReader:
    """Gives events when their last byte has come. Lines end at LF or CR LF alone, whatever else is in them."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._fields: dict[str, list[str]] = {}

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """Take bytes; yield the events that they complete."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, self._rest = bytes(self._rest) + line, bytearray()
            if event := self._line(whole.removesuffix(b"\r").decode("utf-8", "replace")):
                yield event
        self._rest += rest

    def _line(self, line: str) -> ServerEvent | None:
        if line:
            name, _, value = line.partition(":")
            if name:
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return ServerEvent(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), fields.get("id", [""])[-1])
