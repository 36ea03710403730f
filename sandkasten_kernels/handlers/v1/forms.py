"""Forms of files (``multipart/form-data``), taken apart as their bytes arrive; pure, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ...errors import InvalidRequest

__all__ = ["FormReader", "Part"]

MAX_PARTS = 256

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what a client sends wrong, it is told


@dataclass(frozen=True)
class Part:
    """A part of a form that begins; ``filename`` is None for a plain field, and else as the client says it."""

    name: str
    filename: str | None


class FormReader:
    """Takes a form apart as its bytes arrive.

    Raises `InvalidRequest`, from the beginning when ``content_type`` is not that of a form.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:
            raise InvalidRequest("files are sent as a form: Content-Type: multipart/form-data with its boundary")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )
        self._events: list[Part | bytes] = []
        self._parts = 0
        self._field, self._value, self._disposition = b"", b"", b""
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Part | bytes]:
        """Yield each part that begins, and the pieces of its data after it. An empty piece ends a part."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"the form cannot be read: {error}"[:200]) from error
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        """Raise `InvalidRequest` when the form ended before its end."""
        if not self._ended:
            raise InvalidRequest("the form ends before its end, or has no part")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"the form has more than {MAX_PARTS} parts: send several, or an archive to fs/unpack")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        if b"name" not in options:
            raise InvalidRequest("the form has a part without a name")
        filename = options.get(b"filename")
        self._events.append(
            Part(
                options[b"name"].decode("utf-8", "replace"),
                None if filename is None else filename.decode("utf-8", "surrogateescape"),
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._events.append(data[start:end])

    def _part_end(self) -> None:
        self._events.append(b"")

    def _end(self) -> None:
        self._ended = True
