"""Tools for agents: what a model can do in a sandbox, as plain functions with docstrings and JSON schemas.

    toolbox = tools(session)
    Agent(name="...", tools=[function_tool(tool) for tool in toolbox])              # OpenAI Agents SDK
    [StructuredTool.from_function(tool, parse_docstring=True) for tool in toolbox]  # LangChain, of a SyncSession
    model.chat.completions.create(..., tools=toolbox.schemas)                      # a loop, with toolbox.call

Of a `Session` the functions are coroutines, of a `SyncSession` they block. Each returns a text for the model, also
where something went wrong: a model can read that and try something else.
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
USUAL_SECONDS = 60
MAX_READ_BYTES = 1_000_000

_ARGUMENT = re.compile(r"^    (\w+): (.+)$", re.MULTILINE)
_TYPES = {"str": "string", "int": "integer"}


class Toolbox:
    """The tools of one session; iterating over it gives them."""

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
        """What a model is told, in the form of OpenAI's chat completions, which others take too."""
        return [{"type": "function", "function": schema_of(function)} for function in self]

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> Any:
        """Return what a tool returns, of a `Session` to be awaited; ``arguments`` may be JSON, as a model writes it.

        What a model may get wrong, a name or an argument, is told in the text.
        """
        function = self._functions.get(name)
        problem = f"Error: there is no tool {name!r}; there are {', '.join(self._functions)}"
        given: Any = {}
        if function:
            try:
                given = json.loads(arguments or "{}") if isinstance(arguments, str) else dict(arguments)
                inspect.signature(function).bind(**given)
                return function(**given)
            except (ValueError, TypeError) as error:
                problem = f"Error: {name}: {error}"
        return _told(problem) if any(map(inspect.iscoroutinefunction, self)) else problem


def tools(session: Session | SyncSession, *, max_characters: int = MAX_CHARACTERS) -> Toolbox:
    """Return ``run_code run_command read_file write_file list_files`` of a session.

    ``max_characters``: of longer texts the middle is left out, and that is said.
    """
    if isinstance(session, Session):
        return Toolbox(_functions(session, max_characters))
    return Toolbox([blocking_function(function) for function in _functions(inner_session(session), max_characters)])


def schema_of(function: Tool) -> dict[str, Any]:
    """Return ``name description parameters`` of a tool, the parameters as a JSON schema."""
    doc = inspect.getdoc(function) or ""
    about, _, arguments = doc.partition("\n\nArgs:\n")
    words = dict(_ARGUMENT.findall(arguments))
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        properties[name] = {"type": _TYPES[str(parameter.annotation)], "description": words[name]}
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            properties[name]["default"] = parameter.default
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": function.__name__, "description": " ".join(about.split()), "parameters": parameters}


def _functions(session: Session, limit: int) -> list[Callable[..., Coroutine[Any, Any, str]]]:
    async def run_code(code: str, timeout_seconds: int = USUAL_SECONDS) -> str:
        """Run Python code in the sandbox's kernel and return what it printed, its last value or its error.

        Variables and imports are kept between calls.

        Args:
            code: The code to run.
            timeout_seconds: How long it may take.
        """
        cell = await session.run(code, timeout_ms=1000 * timeout_seconds)
        return _shown_cell(cell) + (_too_late(timeout_seconds) if cell.timed_out else "")

    async def run_command(command: str, timeout_seconds: int = USUAL_SECONDS) -> str:
        """Run a command in the sandbox's bash and return what it printed and its exit code.

        Directory, variables and background jobs are kept between calls.

        Args:
            command: The command line, for example "ls -la | wc -l".
            timeout_seconds: How long it may take.
        """
        result = await session.exec(command, timeout_ms=1000 * timeout_seconds)
        text = _clip(result.output, limit)
        ending = _too_late(timeout_seconds) if result.timed_out else f"[exit code {result.exit_code}]"
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{ending}"

    async def read_file(path: str) -> str:
        """Return the text of a file in the sandbox.

        Args:
            path: The file, relative to /workspace or absolute.
        """
        found = await session.read(path, max_bytes=MAX_READ_BYTES)
        try:
            text = found.content.decode("utf-8", "strict" if not found.truncated else "ignore")
        except UnicodeDecodeError:
            return f"[{found.path} is no text: {len(found.content)} bytes]"
        return text + (f"\n[only the first {MAX_READ_BYTES} bytes]" if found.truncated else "")

    async def write_file(path: str, content: str) -> str:
        """Write a text file in the sandbox; its directories are made, and one that is there is replaced.

        Args:
            path: The file, relative to /workspace or absolute.
            content: The whole text of the file.
        """
        await session.write(path, content)
        return f"[{len(content.encode())} bytes are in {path}]"

    async def list_files(path: str = ".") -> str:
        """List a directory of the sandbox, with the sizes in bytes.

        Args:
            path: The directory, relative to /workspace or absolute.
        """
        listing = await session.ls(path)
        lines = [f"{entry.name}/" if entry.is_dir else f"{entry.name}  {entry.size}" for entry in listing]
        return "\n".join([*lines, *(["[there are more]"] if listing.truncated else [])]) or "[empty]"

    def told(function: Callable[..., Coroutine[Any, Any, str]]) -> Callable[..., Coroutine[Any, Any, str]]:
        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> str:
            try:
                return _clip(await function(*args, **kwargs), limit)
            except SandboxError as error:
                return f"Error: {error}"

        return call

    return [told(function) for function in (run_code, run_command, read_file, write_file, list_files)]


async def _told(text: str) -> str:
    return text


def _shown_cell(cell: RunResult) -> str:
    """Return a cell's outputs in their order, a picture by its type and size."""
    texts = [f"[{one.image.mime}, {len(one.image.data)} bytes]\n" if one.image else one.text for one in cell.outputs]
    return "".join(texts) or "[no output]"


def _too_late(seconds: int) -> str:
    return f"[ended: it took longer than {seconds} s]"


def _clip(text: str, limit: int) -> str:
    """Return head and tail of a text that is longer than it may be."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters are left out ...]\n{text[-half:]}"
