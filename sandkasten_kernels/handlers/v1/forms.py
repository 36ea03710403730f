"""FormReader: parses forms of files (``multipart/form-data``) while they arrive. Pure, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ...errors import InvalidRequest

__all__ = ["FormReader", "Part"]

MAX_PARTS = 256

# The parser logs every malformed form; the client gets an error instead.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Part:
    """The beginning of a part. ``filename``: as the client sent it; None for a field that is not a file."""

    name: str
    filename: str | None


class FormReader:
    """Parses one form.

    Every method raises `InvalidRequest` for a malformed form; the constructor for a ``content_type`` of no form.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        # RFC 2046 allows a boundary of 70 characters
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:
            raise InvalidRequest("Content-Type: must be multipart/form-data with a boundary: send the files as a form")
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
        """Yield each part that begins, then the pieces of its data. An empty piece ends the part."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"the form is malformed: {error}"[:200]) from error
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        """Raise `InvalidRequest` when the form is incomplete or has no part."""
        if not self._ended:
            raise InvalidRequest("the form is incomplete, or has no part")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(
                f"the form has more than {MAX_PARTS} parts, the limit: send several forms, or an archive to fs/unpack"
            )
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
