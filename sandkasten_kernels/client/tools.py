"""Tools for agents: plain functions with docstrings and JSON schemas, with which a model uses a sandbox.

    toolbox = tools(session)
    Agent(name="...", tools=[function_tool(tool) for tool in toolbox])              # OpenAI Agents SDK
    [StructuredTool.from_function(tool, parse_docstring=True) for tool in toolbox]  # LangChain, of a SyncSession
    model.chat.completions.create(..., tools=toolbox.schemas)                      # a loop, with toolbox.call

For a `Session` the functions are coroutines; for a `SyncSession` they block. Each returns a string for the model, also
for an error: the model can read it and try another way.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import wraps
from typing import Any

from .blocking import SyncSession, blocking_function, inner_session
from .errors import SandboxError
from .results import RunResult
from .session import Session

__all__ = ["Tool", "Toolbox", "schema_of", "tools"]

Tool = Callable[..., Any]
MAX_CHARACTERS = 20_000
DEFAULT_SECONDS = 60
MAX_READ_BYTES = 1_000_000

_ARGUMENT = re.compile(r"^    (\w+): (.+)$", re.MULTILINE)
_TYPES = {"str": "string", "int": "integer"}


class Toolbox:
    """The tools of one session; it can be iterated over."""

    def __init__(self, functions: list[Tool]) -> None:
        self._functions = {function.__name__: function for function in functions}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)

    def __getitem__(self, name: str) -> Tool:
        return self._functions[name]

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The descriptions for a model, in the format of OpenAI's chat completions, which other APIs accept too."""
        return [{"type": "function", "function": schema_of(function)} for function in self]

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> Any:
        """Call a tool and return its result; for a `Session` the result must be awaited.

        ``arguments`` may be JSON, as a model writes it. For a wrong name or argument the result is an error string.
        """
        function = self._functions.get(name)
        problem = f"Error: there is no tool {name!r}; choose one of: {', '.join(self._functions)}"
        given: Any = {}
        if function:
            try:
                given = json.loads(arguments or "{}") if isinstance(arguments, str) else dict(arguments)
                inspect.signature(function).bind(**given)
                return function(**given)
            except (ValueError, TypeError) as error:
                problem = f"Error: {name}: {error}"
        return _returned(problem) if any(map(inspect.iscoroutinefunction, self)) else problem


def tools(session: Session | SyncSession, *, max_characters: int = MAX_CHARACTERS) -> Toolbox:
    """Return the tools ``run_code run_command read_file write_file list_files`` for a session.

    ``max_characters``: the limit of a result. A longer one loses its middle, with a note in its place.
    """
    if isinstance(session, Session):
        return Toolbox(_functions(session, max_characters))
    return Toolbox([blocking_function(function) for function in _functions(inner_session(session), max_characters)])


def schema_of(function: Tool) -> dict[str, Any]:
    """Return ``name description parameters`` of a tool; the parameters are a JSON schema."""
    doc = inspect.getdoc(function) or ""
    about, _, arguments = doc.partition("\n\nArgs:\n")
    descriptions = dict(_ARGUMENT.findall(arguments))
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        properties[name] = {"type": _TYPES[str(parameter.annotation)], "description": descriptions[name]}
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            properties[name]["default"] = parameter.default
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": function.__name__, "description": " ".join(about.split()), "parameters": parameters}


def _functions(session: Session, limit: int) -> list[Callable[..., Coroutine[Any, Any, str]]]:
    async def run_code(code: str, timeout_seconds: int = DEFAULT_SECONDS) -> str:
        """Run Python code in the sandbox and return its output, the value of its last expression, or its error.

        Variables and imports persist between calls.

        Args:
            code: The Python code to run.
            timeout_seconds: Stop the code after this many seconds.
        """
        cell = await session.run(code, timeout_ms=1000 * timeout_seconds)
        return _shown_cell(cell) + (_timed_out(timeout_seconds) if cell.timed_out else "")

    async def run_command(command: str, timeout_seconds: int = DEFAULT_SECONDS) -> str:
        """Run a shell command in the sandbox and return its output and exit code.

        All calls share one bash: the working directory, variables and background jobs persist.

        Args:
            command: The bash command, for example "ls -la | wc -l".
            timeout_seconds: Stop the command after this many seconds.
        """
        result = await session.exec(command, timeout_ms=1000 * timeout_seconds)
        text = _clip(result.output, limit)
        ending = _timed_out(timeout_seconds) if result.timed_out else f"[exit code {result.exit_code}]"
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{ending}"

    async def read_file(path: str) -> str:
        """Read a text file in the sandbox.

        Args:
            path: The path of the file, relative to /workspace or absolute.
        """
        found = await session.read(path, max_bytes=MAX_READ_BYTES)
        try:
            # the limit may have cut a character in two
            text = found.content.decode("utf-8", "strict" if not found.truncated else "ignore")
        except UnicodeDecodeError:
            return f"[{found.path} is not a text file: {len(found.content)} bytes]"
        return text + (f"\n[only the first {MAX_READ_BYTES} bytes]" if found.truncated else "")

    async def write_file(path: str, content: str) -> str:
        """Write a text file in the sandbox. Replaces an existing file and creates missing directories.

        Args:
            path: The path of the file, relative to /workspace or absolute.
            content: The complete new content of the file.
        """
        await session.write(path, content)
        return f"[wrote {len(content.encode())} bytes to {path}]"

    async def list_files(path: str = ".") -> str:
        """List the entries of a directory in the sandbox, with file sizes in bytes.

        Args:
            path: The path of the directory, relative to /workspace or absolute.
        """
        listing = await session.ls(path)
        lines = [f"{entry.name}/" if entry.is_dir else f"{entry.name}  {entry.size}" for entry in listing]
        return "\n".join([*lines, *(["[more entries are not listed]"] if listing.truncated else [])]) or "[empty]"

    def guarded(function: Callable[..., Coroutine[Any, Any, str]]) -> Callable[..., Coroutine[Any, Any, str]]:
        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> str:
            try:
                return _clip(await function(*args, **kwargs), limit)
            except SandboxError as error:
                return f"Error: {error}"

        return call

    return [guarded(function) for function in (run_code, run_command, read_file, write_file, list_files)]


async def _returned(text: str) -> str:
    return text


def _shown_cell(cell: RunResult) -> str:
    """Return a cell's outputs in their order; for a picture its type and size."""
    texts = [f"[{one.image.mime}, {len(one.image.data)} bytes]\n" if one.image else one.text for one in cell.outputs]
    return "".join(texts) or "[no output]"


def _timed_out(seconds: int) -> str:
    return f"[stopped: timed out after {seconds} s]"


def _clip(text: str, limit: int) -> str:
    """Return a string; above the limit its beginning and end, with a note between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
