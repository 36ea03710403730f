"""Collector: the sink of a blocking request, which keeps a job's output within limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .outcome import Outcome
from .outputs import Clip, Outputs, output_of, plain_text

__all__ = ["Collector"]

MAX_OUTPUTS_BYTES = 8 * 1024 * 1024


class Collector:
    """A sink that keeps head and tail of each stream, ``limit`` bytes together, and for ``code`` a cell's outputs."""

    def __init__(self, limit: int, *, code: bool) -> None:
        self._outputs = Outputs(MAX_OUTPUTS_BYTES) if code else None
        # a Clip for both: two separate ones cannot restore the order of stdout and stderr
        self._all, self._streams = Clip(limit), {"stdout": Clip(limit), "stderr": Clip(limit)}

    def text(self, stream: str, text: str) -> None:
        self._all.add(text)
        self._streams[stream].add(text)
        if self._outputs:
            self._outputs.add("stream", {"name": stream, "text": text})

    def message(self, msg_type: str, content: Mapping[str, Any]) -> None:
        if self._outputs:
            self._outputs.add(msg_type, content)
        if output := output_of(msg_type, content):
            self._all.add(plain_text(output))

    def result(self, outcome: Outcome) -> str:
        """Return the answer of the exec routes as JSON; for code it has the fields of a cell."""
        answer: dict[str, Any] = {
            "exit_code": outcome.exit_code,
            "cwd": outcome.cwd,
            "output": self._all.text(),
            "stdout": self._streams["stdout"].text(),
            "stderr": self._streams["stderr"].text(),
            "truncated": self._all.truncated or bool(self._outputs and self._outputs.truncated),
            "timed_out": outcome.timed_out,
            "duration_ms": outcome.duration_ms,
        }
        if outcome.error:
            answer["error"] = outcome.error
        if self._outputs is None:
            return json.dumps(answer)
        answer["status"] = "ok" if outcome.exit_code == 0 else "error"
        answer["execution_count"] = outcome.execution_count
        # the outputs are JSON already: they are inserted, not parsed and encoded again
        return f'{json.dumps(answer)[:-1]}, "outputs": {self._outputs.as_json()}}}'
