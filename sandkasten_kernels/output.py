"""What an execution gave, collected and bounded; pure, without I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Clip", "Outputs", "output_of", "plain_text"]

MAX_OUTPUTS = 1000
LEAST_STREAM_BYTES = 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Clip:
    """Text that keeps its head and its tail within ``limit`` bytes of UTF-8, and says how much is missing between.

    What is kept is never more than ``limit`` bytes, whole characters, and all of the text while that is not longer.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, text: str) -> None:
        """Append text."""
        data = text.encode("utf-8", "replace")
        self._total += len(data)
        room = self._limit - self._limit // 2 - len(self._head)
        self._head += data[:room]
        self._tail += data[room:][-(self._limit // 2) - 1 :]
        if len(self._tail) > self._limit + 1:
            del self._tail[: -(self._limit // 2) - 1]

    @property
    def truncated(self) -> bool:
        """Whether something is missing."""
        return self._total > self._limit

    def text(self) -> str:
        """Return the text, or its head and tail with a line between that says how many bytes are missing."""
        if not self.truncated:
            return (self._head + self._tail).decode()
        head = self._head.decode(errors="ignore")
        end = self._tail[len(self._tail) - self._limit // 2 :].decode(errors="ignore")
        missing = self._total - len(head.encode()) - len(end.encode())
        return f"{head}\n[... {missing} bytes are missing here ...]\n{end}"


class Outputs:
    """The outputs of a cell as a notebook keeps them, made from messages of the kernel's.

    Streams that follow each other are one output. All together they are bounded by ``limit`` bytes and `MAX_OUTPUTS`,
    give or take `LEAST_STREAM_BYTES` for each stream; what does not fit is counted in `missing_bytes`.

    Source: https://nbformat.readthedocs.io/en/latest/format_description.html#code-cell-outputs
    """

    def __init__(self, limit: int) -> None:
        self.missing_bytes = 0
        self._limit = limit
        self._clear_next = False
        self._clear()

    def add(self, msg_type: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take a message's content; return the output that it became, None when it is text of a stream or no output."""
        if msg_type == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self._clear()
            return None
        if msg_type == "stream":
            self._before_output()
            self._add_text("stderr" if content.get("name") == "stderr" else "stdout", str(content.get("text", "")))
            return None
        output = output_of(msg_type, content)
        if output is None:
            return None
        self._before_output()
        transient = content.get("transient")
        display_id = str(transient.get("display_id", "")) if isinstance(transient, Mapping) else ""
        size = len(json.dumps(output))
        if self._bytes + size > self._limit or len(self._outputs) >= MAX_OUTPUTS:
            self.missing_bytes += size
            return output
        self._bytes += size
        if msg_type == "update_display_data":
            for place in self._displays.get(display_id, []):
                self._outputs[place] = output
            return output
        if display_id:
            self._displays.setdefault(display_id, []).append(len(self._outputs))
        self._outputs.append(output)
        return output

    def finish(self) -> list[dict[str, Any]]:
        """Return the outputs."""
        return [
            {"output_type": "stream", "name": output[0], "text": output[1].text()}
            if isinstance(output, tuple)
            else output
            for output in self._outputs
        ]

    @property
    def truncated(self) -> bool:
        """Whether something is missing."""
        return self.missing_bytes > 0 or any(isinstance(o, tuple) and o[1].truncated for o in self._outputs)

    def _add_text(self, name: str, text: str) -> None:
        last = self._outputs[-1] if self._outputs else None
        if isinstance(last, tuple) and last[0] == name:
            last[1].add(text)
        elif len(self._outputs) < MAX_OUTPUTS:
            clip = Clip(max(LEAST_STREAM_BYTES, self._limit - self._bytes))
            clip.add(text)
            self._outputs.append((name, clip))
        else:
            self.missing_bytes += len(text.encode("utf-8", "replace"))
            return
        self._bytes += len(text)

    def _before_output(self) -> None:
        if self._clear_next:
            self._clear_next = False
            self._clear()

    def _clear(self) -> None:
        self._outputs: list[dict[str, Any] | tuple[str, Clip]] = []
        self._displays: dict[str, list[int]] = {}
        self._bytes = 0


def output_of(msg_type: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a message's content as an nbformat output; None for a message that is none."""
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
    """Return what a person would read of an output that is no stream: its text; an error's traceback, no colours."""
    if output["output_type"] == "error":
        lines = output["traceback"] or [f"{output['ename']}: {output['evalue']}"]
        return _COLOUR.sub("", "\n".join(lines)) + "\n"
    text = output["data"].get("text/plain", "")
    return f"{''.join(text) if isinstance(text, list) else text}\n"


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return dict(value) if isinstance(value, Mapping) else {}
