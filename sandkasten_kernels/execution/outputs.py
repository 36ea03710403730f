"""Outputs: the output of an execution, collected within limits; pure, without I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Clip", "Outputs", "as_json", "output_of", "plain_text"]

MAX_OUTPUTS = 1000
LEAST_STREAM_BYTES = 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Clip:
    """Keeps head and tail of a text, ``limit`` bytes of UTF-8 together, and says how many bytes are missing between.

    A text within the limit is kept whole. A longer one is cut between characters, never inside one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, text: str) -> None:
        """Append text."""
        # JSON may contain lone surrogates
        data = text.encode("utf-8", "replace")
        self._total += len(data)
        room = self._limit - self._limit // 2 - len(self._head)
        self._head += data[:room]
        self._tail += data[room:][-(self._limit // 2) - 1 :]
        # only at twice the size that is kept: each byte is moved at most once on average
        if len(self._tail) > self._limit + 1:
            del self._tail[: -(self._limit // 2) - 1]

    @property
    def truncated(self) -> bool:
        """Whether a part of the text is missing."""
        return self._total > self._limit

    @property
    def kept(self) -> int:
        """How many bytes are kept, at most the limit."""
        return min(self._total, self._limit)

    def text(self) -> str:
        """Return the text, or its head and its tail with a line between them that says how many bytes are missing."""
        if not self.truncated:
            return (self._head + self._tail).decode()
        head = self._head.decode(errors="ignore")
        end = self._tail[len(self._tail) - self._limit // 2 :].decode(errors="ignore")
        missing = self._total - len(head.encode()) - len(end.encode())
        return f"{head}\n[... {missing} bytes are missing here ...]\n{end}"


class Outputs:
    """The outputs of a cell in the format of a notebook, made from the kernel's messages.

    They are kept as JSON strings, because the size of a string is known. Streams that follow each other are merged. All
    outputs together have at most ``limit`` bytes, plus `LEAST_STREAM_BYTES` for each stream, and there are at most
    `MAX_OUTPUTS`; `missing_bytes` counts the rest. The first error and the first result are always kept.

    Source: https://nbformat.readthedocs.io/en/latest/format_description.html#code-cell-outputs
    """

    def __init__(self, limit: int) -> None:
        self.missing_bytes = 0
        self._limit = limit
        self._clear_next = False
        self._clear()

    def add(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Add the content of a message."""
        if msg_type == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self._clear()
            return
        if msg_type == "stream":
            self._before_output()
            self._add_text("stderr" if content.get("name") == "stderr" else "stdout", str(content.get("text", "")))
            return
        text = as_json(output_of(msg_type, content))
        if text is None:
            return
        self._before_output()
        transient = content.get("transient")
        display_id = str(transient.get("display_id", "")) if isinstance(transient, Mapping) else ""
        if msg_type == "update_display_data":
            self._update(display_id, text)
            return
        # A client needs to see how the cell ended, however much it has printed: one error and one result always fit.
        full = self._bytes + len(text) > self._limit or len(self._outputs) >= MAX_OUTPUTS
        if full and (msg_type in self._reserve or msg_type not in ("error", "execute_result")):
            self.missing_bytes += len(text)
            return
        self._reserve.add(msg_type)
        self._bytes += len(text)
        if display_id:
            self._displays.setdefault(display_id, []).append(len(self._outputs))
        self._outputs.append(text)

    def as_json(self) -> str:
        """Return the outputs as a JSON list."""
        texts = (
            json.dumps({"output_type": "stream", "name": output[0], "text": output[1].text()})
            if isinstance(output, tuple)
            else output
            for output in self._outputs
        )
        return f"[{', '.join(texts)}]"

    @property
    def truncated(self) -> bool:
        """Whether something is missing."""
        return self.missing_bytes > 0 or any(isinstance(o, tuple) and o[1].truncated for o in self._outputs)

    def _update(self, display_id: str, text: str) -> None:
        for place in self._displays.get(display_id, []):
            grown = len(text) - len(self._outputs[place])
            if self._bytes + grown > self._limit:
                self.missing_bytes += len(text)
                return
            self._bytes += grown
            self._outputs[place] = text

    def _add_text(self, name: str, text: str) -> None:
        last = self._outputs[-1] if self._outputs else None
        if not isinstance(last, tuple) or last[0] != name:
            if len(self._outputs) >= MAX_OUTPUTS:
                self.missing_bytes += len(text.encode("utf-8", "replace"))
                return
            last = (name, Clip(max(LEAST_STREAM_BYTES, self._limit - self._bytes)))
            self._outputs.append(last)
        before = last[1].kept
        last[1].add(text)
        self._bytes += last[1].kept - before

    def _before_output(self) -> None:
        if self._clear_next:
            self._clear_next = False
            self._clear()

    def _clear(self) -> None:
        self._outputs: list[Any] = []
        self._displays: dict[str, list[int]] = {}
        self._reserve: set[str] = set()
        self._bytes = 0


def as_json(value: Mapping[str, Any] | None) -> str | None:
    """Return JSON; None for None, and for values that are nested too deeply for the encoder."""
    try:
        return None if value is None else json.dumps(value)
    except (RecursionError, ValueError):
        return None


def output_of(msg_type: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the content of a message as an nbformat output; None for a message of another type."""
    if msg_type in ("display_data", "update_display_data", "execute_result"):
        bundle = {"data": _mapping(content, "data"), "metadata": _mapping(content, "metadata")}
        if msg_type == "execute_result":
            return {"output_type": "execute_result", "execution_count": content.get("execution_count"), **bundle}
        return {"output_type": "display_data", **bundle}
    if msg_type == "error":
        traceback = content.get("traceback")
        return {
            "output_type": "error",
            "ename": str(content.get("ename", "")),
            "evalue": str(content.get("evalue", "")),
            "traceback": [str(line) for line in traceback] if isinstance(traceback, list) else [],
        }
    return None


def plain_text(output: Mapping[str, Any]) -> str:
    """Return the plain text of an output that is not a stream: ``text/plain``, or a traceback without colours."""
    if output["output_type"] == "error":
        lines = output["traceback"] or [f"{output['ename']}: {output['evalue']}"]
        return _COLOUR.sub("", "\n".join(lines)) + "\n"
    text = output["data"].get("text/plain", "")
    lines = text if isinstance(text, list) else [text]
    return "".join(line for line in lines if isinstance(line, str)) + "\n"


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return dict(value) if isinstance(value, Mapping) else {}
