"""An agent that works in a sandbox: a loop in which a model calls tools and reads their results.

    python examples/agent_loop.py

The model is a script that reads the results, so the example runs without an API key. For a real model, replace
`ScriptedModel.complete` by ``openai.chat.completions.create(model=..., messages=..., tools=...)``; the loop stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sandkasten_kernels import SyncSandboxClient
from sandkasten_kernels.client.tools import Toolbox, tools

TASK = "Measure how the time to sort a list grows with its length, and write the result to report.md."
MAX_TURNS = 12

MEASURE = """
import random, time
results = []
for n in lengths:
    data = [random.random() for _ in range(n)]
    began = time.perf_counter(); sorted(data)
    results.append((n, time.perf_counter() - began))
print(*(f"{n} {seconds:.4f}" for n, seconds in results), sep="\\n")
"""
REPORT = """
lines = [f"| {n} | {1000 * seconds:.1f} ms |" for n, seconds in results]
with open("report.md", "w") as report:
    print("| length | time |", "|---|---|", *lines, sep="\\n", file=report)
"""


class ScriptedModel:
    """Behaves like a chat model with tools: makes a mistake, reads the error, fixes it, and checks its file."""

    def __init__(self) -> None:
        self._calls = 0

    def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the next message of the assistant, in the format of chat completions."""
        offered = [tool["function"]["name"] for tool in tools]
        assert "run_code" in offered
        last = str(messages[-1]["content"])
        if messages[-1]["role"] == "user":
            return self._use("run_code", code=MEASURE)
        if "NameError" in last:
            return self._use("run_code", code="lengths = [1_000, 10_000, 100_000]\n" + MEASURE)
        if last.startswith("1000 "):
            return self._use("run_code", code=REPORT)
        if last == "[no output]":
            return self._use("run_command", command="wc -l report.md")
        if "report.md\n[exit code 0]" in last:
            return self._use("read_file", path="report.md")
        return {"role": "assistant", "content": f"Done. This is the report:\n\n{last}"}

    def _use(self, name: str, **arguments: Any) -> dict[str, Any]:
        self._calls += 1
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": f"call_{self._calls}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


def solve(task: str, model: ScriptedModel, toolbox: Toolbox) -> str:
    """Run the loop, and return the final message of the model."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for _ in range(MAX_TURNS):
        message = model.complete(messages, toolbox.schemas)
        messages.append(message)
        if not message.get("tool_calls"):
            return str(message["content"])
        for call in message["tool_calls"]:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            answer = toolbox.call(name, arguments)
            print(f"--- {name}\n{answer.rstrip()}")
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": answer})
    raise RuntimeError(f"no answer after {MAX_TURNS} turns")


def main() -> None:
    with SyncSandboxClient() as client, client.create_session(name="agent") as session:
        print(f"\n{solve(TASK, ScriptedModel(), tools(session))}")


if __name__ == "__main__":
    main()
