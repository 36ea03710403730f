"""What a command, a cell and a file give, as frozen dataclasses; in a notebook each shows itself."""

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
    """How a command ended, and what it said."""

    exit_code: int
    """Of the command, 0 for success; -1 where it exceeded its time."""

    cwd: str
    """Where the shell, or the kernel, is afterwards."""

    output: str
    """Both streams, as they came."""

    truncated: bool = False
    """Whether the midst of it is left out, because it was too long."""

    duration_ms: int = 0
    """How long it took."""

    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    timed_out: bool = False
    """Whether it was ended because its time was over."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exit_code == 0

    def check(self) -> Self:
        """Return the result itself. Raises `CommandTimedOut` and `CommandFailed` where it did not succeed."""
        if self.timed_out:
            raise CommandTimedOut(f"it exceeded its time, after {self.duration_ms} ms", self)
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
    """How a cell ended, and its outputs."""

    status: Literal["ok", "error"] = "ok"
    execution_count: int | None = None

    outputs: tuple[Output, ...] = field(default=(), repr=False)
    """As a notebook would keep them, in their order."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return super().of({**data, "outputs": tuple(Output(raw) for raw in data.get("outputs") or ())})

    @property
    def text(self) -> str:
        """What it printed on stdout and what it gave as text, without the descriptions of pictures."""
        shown = (one for one in self.outputs if one.stream != "stderr" and not one.image and not one.error)
        return "".join(one.text for one in shown)

    @property
    def images(self) -> tuple[Image, ...]:
        """Its pictures, in their order."""
        return tuple(one.image for one in self.outputs if one.image)

    @property
    def error(self) -> CellError | None:
        """The exception that ended it; None where there was none."""
        return next((one.error for one in self.outputs if one.error), None)

    def _failure(self) -> str:
        return str(self.error or super()._failure())

    def _repr_html_(self) -> str:
        ending = text_html("[timed out]\n", bad=True) if self.timed_out else ""
        return "".join(one._repr_html_() for one in self.outputs) + ending


@dataclass(frozen=True)
class ExecChunk:
    """A piece of what a command says; the last one has `done` set, and how it ended."""

    output: str
    """Text as it was written; empty in the last one."""

    timestamp: int
    """Milliseconds since 1970."""

    done: bool = False
    exit_code: int = 0
    """Of the last one; -1 where it exceeded its time."""

    cwd: str = ""
    """Of the last one."""

    duration_ms: int = 0
    """Of the last one."""

    stream: str = ""
    """``stdout`` or ``stderr``."""

    timed_out: bool = False
    """Of the last one."""


@dataclass(frozen=True)
class RunChunk(ExecChunk):
    """A piece of what a cell says: text, or a display, a result or an error; the last one has `done` set."""

    display: Output | None = field(default=None, repr=False)
    """What is more than printed text; `output` is then its text."""

    status: str = ""
    """Of the last one: ``ok`` or ``error``."""

    execution_count: int | None = None
    """Of the last one."""


@dataclass(frozen=True)
class ReadResult:
    """A file's content."""

    content: bytes
    path: str
    truncated: bool
    """Whether there is more than `max_bytes` allowed."""

    @property
    def text(self) -> str:
        """The content as UTF-8; bytes that are none are replaced."""
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
    """A directory's entries; iterating over it gives them."""

    path: str
    entries: tuple[FileInfo, ...]
    truncated: bool = False
    """Whether there are more, above some thousand."""

    @property
    def names(self) -> list[str]:
        """The entries' names."""
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
