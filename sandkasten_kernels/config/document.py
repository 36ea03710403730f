"""Document: a YAML file as plain data with line numbers; anchors, aliases and tags are not allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

__all__ = ["Document", "composed", "plain_value", "shown"]


def shown(name: str) -> str:
    """Return a key for an error message: quoted and shortened unless it is a plain word."""
    return name if re.fullmatch(r"[\w.-]{1,60}", name) else repr(name[:60])


def plain_value(text: str) -> Any:
    """Return the plain data of a YAML text. Raises `ValueError` with a message that contains no part of the text."""
    try:
        return Document("").load(text)
    except yaml.MarkedYAMLError as error:
        # not str(error): it quotes the text, which may be a secret
        raise ValueError(error.problem or error.context) from error
    except yaml.YAMLError as error:
        raise ValueError("not a string in UTF-8") from error
    except RecursionError:
        raise ValueError("nested too deeply") from None


def composed(text: str) -> yaml.Node | None:
    """Return the tree of YAML nodes with their positions; None for an empty text. Raises `yaml.YAMLError`."""
    root: yaml.Node | None = _Loader(text).get_single_node()
    return root


@dataclass
class Document:
    """A mapping read from `file`; `lines` has the line of each key and list item by its path."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a YAML file with a mapping, or nothing, at its root.

        Raises `ConfigError` for a file that cannot be read, for malformed YAML, for a key that is given twice or is not
        a string, and for anchors, aliases, tags and several documents. No message contains a value.
        """
        try:
            return cls.parse(path, path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error

    @classmethod
    def parse(cls, path: Path, text: bytes | str) -> Document:
        """Return the content of ``text``, the present or future text of a file. Raises like `read`."""
        document = cls(str(path))
        try:
            data = document.load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 0
            problem = str(error.problem or error.context)
            place = f"{path}:{line}" if line else str(path)
            raise ConfigError(f"{place}: {problem}", problem=problem, line=line) from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not a text file in UTF-8", problem="not a text file in UTF-8") from error
        except RecursionError:
            raise ConfigError(f"{path}: nested too deeply", problem="nested too deeply") from None
        if isinstance(data, dict):
            document.data = data
        elif data is not None:
            start = document.lines[()]
            problem = "expected keys and values, as in `session_ttl_seconds: 1800`"
            raise ConfigError(f"{path}:{start}: {problem}", problem=problem, line=start)
        return document

    @property
    def base(self) -> Path:
        """The directory that relative paths in the file start from: that of the file."""
        return Path(self.file).parent

    def place(self, path: tuple[str, ...]) -> str:
        """Return file and line of the value at `path`."""
        return f"{self.file}:{self.line(path)}"

    def line(self, path: tuple[str, ...]) -> int:
        """Return the line of the value at `path`; for an absent one, that of the nearest parent."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: tuple[str, ...], problem: str) -> ConfigError:
        """Return the error for the value at `path`, with its line."""
        message = f"{self.place(path)}: {'.'.join(map(shown, path))}: {problem}"
        return ConfigError(message, path=path, problem=problem, line=self.line(path))

    def load(self, text: bytes | str) -> Any:
        """Return the plain data of a text and record the lines. Raises `yaml.YAMLError`."""
        loader = _Loader(text)
        root = loader.get_single_node()
        return None if root is None else self._plain(loader, root, ())

    def _plain(self, loader: _Loader, node: yaml.Node, path: tuple[str, ...]) -> Any:
        """Return the data of `node` and record the lines below it."""
        # setdefault: a mapping's value keeps the line of its key, which is already known
        self.lines.setdefault(path, _line(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*path, str(index))) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        try:
            return loader.construct_object(node)
        except ValueError:  # as 2024-13-45 or 0b_
            problem = "looks like a number or a date but is not one; put a string in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be one word", problem_mark=key_node.start_mark)
            key = key_node.value
            here = (*path, key)
            # YAML 1.1 reads the bare words on, no and 12 as a bool or a number
            if key_node.tag != "tag:yaml.org,2002:str":
                problem = f"{'.'.join(map(shown, here))}: YAML does not read this key as a string; put it in quotes"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            # PyYAML would silently take the second value
            if key in data:
                problem = f"{'.'.join(map(shown, here))}: given twice, first on line {self.lines[here]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            self.lines[here] = _line(key_node)
            data[key] = self._plain(loader, value_node, here)
        return data


class _Loader(yaml.SafeLoader):
    """Rejects anchors, aliases and tags, so that the result is a finite tree of plain values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # a few lines of nested aliases would become gigabytes of plain values
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            problem = "anchors, aliases and tags (&, *, !) are not allowed; put a string in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
