"""The outputs of a cell as a notebook keeps them: text, pictures, results, errors."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from .display import frame_html, image_html, text_html

__all__ = ["CellError", "Image", "Output"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
IMAGE_TYPES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
}
"""By preference, each with the extension of its files."""


@dataclass(frozen=True)
class Image:
    """A picture: its MIME type and its bytes."""

    mime: str
    data: bytes = field(repr=False)

    @property
    def extension(self) -> str:
        """The extension of its file name, without a dot."""
        return IMAGE_TYPES[self.mime]

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a local file, and return the path."""
        target = Path(path)
        target.write_bytes(self.data)
        return target

    def _repr_html_(self) -> str:
        return image_html(self.mime, self.data)


@dataclass(frozen=True)
class CellError:
    """An exception that ended a cell."""

    name: str
    value: str
    traceback: str = field(repr=False)
    """Without colours."""

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


@dataclass(frozen=True)
class Output:
    """One output of a cell: printed text, a display, a result or an error.

    `raw` is the output in the format of nbformat, ready for a notebook.
    """

    raw: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """``stream``, ``display_data``, ``execute_result`` or ``error``."""
        return str(self.raw.get("output_type", ""))

    @property
    def stream(self) -> str:
        """``stdout`` or ``stderr`` of printed text; empty for anything else."""
        return str(self.raw.get("name", "")) if self.kind == "stream" else ""

    @property
    def data(self) -> Mapping[str, Any]:
        """The representations by MIME type; empty for text and errors."""
        data = self.raw.get("data")
        return data if isinstance(data, Mapping) else {}

    @property
    def text(self) -> str:
        """The text that a terminal would show; for a picture its description."""
        if self.kind == "stream":
            return _joined(self.raw.get("text", ""))
        if error := self.error:
            return f"{error.traceback}\n"
        return f"{text}\n" if (text := _joined(self.data.get("text/plain", ""))) else ""

    @cached_property
    def image(self) -> Image | None:
        """The picture; None for an output without one."""
        for mime in IMAGE_TYPES:
            content = _joined(self.data.get(mime, ""))
            # a notebook keeps SVG as text, other pictures as base64
            if content and mime == "image/svg+xml":
                return Image(mime, content.encode())
            if content:
                try:
                    return Image(mime, base64.b64decode(content))
                except ValueError:
                    continue
        return None

    @property
    def error(self) -> CellError | None:
        """The exception; None for any other output."""
        if self.kind != "error":
            return None
        name, value = str(self.raw.get("ename", "")), str(self.raw.get("evalue", ""))
        lines = self.raw.get("traceback") or [f"{name}: {value}"]
        return CellError(name, value, _COLOUR.sub("", "\n".join(map(str, lines))))

    def _repr_html_(self) -> str:
        if self.image:
            return image_html(self.image.mime, self.image.data)
        if document := _joined(self.data.get("text/html", "")):
            return frame_html(document)
        return text_html(self.text, bad=self.kind == "error" or self.stream == "stderr")


def _joined(text: Any) -> str:
    """Return a string, which nbformat may also keep as a list of lines."""
    return "".join(map(str, text)) if isinstance(text, list) else text if isinstance(text, str) else ""
