"""The results of commands, cells and file operations; a notebook shows each as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from .display import table_html, text_html
from .errors import CommandFailed, CommandTimedOut
from .from_json import FromJson
from .outputs import CellError, Image, Output

__all__ = ["ExecChunk", "ExecResult", "FileInfo", "Listing", "ReadResult", "RunChunk", "RunResult"]


@dataclass(frozen=True)
class ExecResult(FromJson):
    """The exit code and the output of a command."""

    exit_code: int
    """The exit code, 0 for success; -1 for a timeout."""

    cwd: str
    """The working directory of the shell, or the kernel, afterwards."""

    output: str
    """Both streams, in the order of writing."""

    truncated: bool = False
    """Whether the middle of the output is left out, because it exceeded a limit."""

    duration_ms: int = 0
    """How long it took, in milliseconds."""

    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    timed_out: bool = False
    """Whether it was stopped by the timeout."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exit_code == 0

    def check(self) -> Self:
        """Return the result itself. Raises `CommandTimedOut` after a timeout, `CommandFailed` for another failure."""
        if self.timed_out:
            raise CommandTimedOut(f"it timed out after {self.duration_ms} ms", self)
        if not self.ok:
            raise CommandFailed(self._failure(), self)
        return self

    def _failure(self) -> str:
        last = (self.stderr or self.output).strip().rpartition("\n")[2]
        return f"it ended with exit code {self.exit_code}" + (f": {last[:300]}" if last else "")

    def _repr_html_(self) -> str:
        ending = "" if self.ok else "[timed out]\n" if self.timed_out else f"[exit code {self.exit_code}]\n"
        return text_html(self.output + ending, bad=not self.ok)


@dataclass(frozen=True)
class RunResult(ExecResult):
    """The status and the outputs of a cell."""

    status: Literal["ok", "error"] = "ok"
    execution_count: int | None = None

    outputs: tuple[Output, ...] = field(default=(), repr=False)
    """In their order, as a notebook keeps them."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return super().of({**data, "outputs": tuple(Output(raw) for raw in data.get("outputs") or ())})

    @property
    def text(self) -> str:
        """Its stdout and its results as text, without the descriptions of pictures."""
        shown = (one for one in self.outputs if one.stream != "stderr" and not one.image and not one.error)
        return "".join(one.text for one in shown)

    @property
    def images(self) -> tuple[Image, ...]:
        """Its pictures, in their order."""
        return tuple(one.image for one in self.outputs if one.image)

    @property
    def error(self) -> CellError | None:
        """The exception that ended it; None for none."""
        return next((one.error for one in self.outputs if one.error), None)

    def _failure(self) -> str:
        return str(self.error or super()._failure())

    def _repr_html_(self) -> str:
        ending = text_html("[timed out]\n", bad=True) if self.timed_out else ""
        return "".join(one._repr_html_() for one in self.outputs) + ending


@dataclass(frozen=True)
class ExecChunk:
    """A piece of a command's output. The last one has `done` set, and the fields of the result."""

    output: str
    """The text; empty in the last chunk."""

    timestamp: int
    """Milliseconds since 1970."""

    done: bool = False
    exit_code: int = 0
    """In the last chunk; -1 for a timeout."""

    cwd: str = ""
    """In the last chunk."""

    duration_ms: int = 0
    """In the last chunk."""

    stream: str = ""
    """``stdout`` or ``stderr``."""

    timed_out: bool = False
    """In the last chunk."""


@dataclass(frozen=True)
class RunChunk(ExecChunk):
    """A piece of a cell's output: text, a display, a result or an error. The last one has `done` set."""

    display: Output | None = field(default=None, repr=False)
    """An output other than printed text; `output` is then its text."""

    status: str = ""
    """In the last chunk: ``ok`` or ``error``."""

    execution_count: int | None = None
    """In the last chunk."""


@dataclass(frozen=True)
class ReadResult:
    """A file's content."""

    content: bytes
    path: str
    truncated: bool
    """Whether the file is longer than `max_bytes`."""

    @property
    def text(self) -> str:
        """The content decoded as UTF-8; invalid bytes are replaced."""
        return self.content.decode("utf-8", "replace")

    def _repr_html_(self) -> str:
        return text_html(self.text)


@dataclass(frozen=True)
class FileInfo(FromJson):
    """A file or a directory."""

    name: str
    is_dir: bool
    size: int = 0
    """In bytes."""

    modified: str = ""
    """RFC 3339."""

    kind: str = ""
    """``file``, ``directory``, ``link`` or ``other``."""


@dataclass(frozen=True)
class Listing:
    """The entries of a directory; it can be iterated over."""

    path: str
    entries: tuple[FileInfo, ...]
    truncated: bool = False
    """Whether the directory has more entries, above some thousand."""

    @property
    def names(self) -> list[str]:
        """The names of the entries."""
        return [entry.name for entry in self.entries]

    def __iter__(self) -> Iterator[FileInfo]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> FileInfo:
        return self.entries[index]

    def _repr_html_(self) -> str:
        rows = [(f"{entry.name}/" if entry.is_dir else entry.name, entry.size, entry.modified) for entry in self]
        return table_html(("name", "size", "modified"), rows)
