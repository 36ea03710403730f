"""The text of a configuration file without its secrets, and what comes back with them again; pure, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import yaml

from ..errors import ConfigError
from .document import composed, plain_value
from .validation import SECRETS
from .yaml_edit import end_of

__all__ = ["KEPT", "Masked", "is_secret"]

KEPT = "__kept__"
"""Stands in a text for a secret that stays what it is."""

_NAME = re.compile(r"api[-_ ]?key|token|secret|password", re.IGNORECASE)
_COMMENT = re.compile(r"""(?:^|(?<=[\s'"\[\]{},:]))#.*$""")
_SAID = re.compile(r"((?:api[-_ ]?key|token|secret|password)\w*['\"]?\s*[:=]\s*)\S.*$", re.IGNORECASE)
LEAST_SECRET = 4
"""A shorter one is masked in comments as a word of its own alone."""


def is_secret(path: tuple[str, ...]) -> bool:
    """Return whether what stands at a path is a secret; a wrong name for one counts too, but no image's."""
    return path[-1] in SECRETS or (len(path) < 3 and path[0] != "images" and _NAME.search(path[-1]) is not None)


@dataclass(frozen=True)
class Masked:
    """A text that may be shown, and what it takes to get from a changed one to the real one.

    Attributes
    ----------
    text: has `KEPT` for each secret: in its value, and in comments that name one or repeat one.
    values: the secrets in YAML, by their path.
    comments: lines with hidden comments, in their order, by what is shown of them.
    others: the values that are no secrets.
    """

    text: str
    values: dict[tuple[str, ...], str]
    comments: dict[str, list[str]]
    others: frozenset[str]

    @classmethod
    def of(cls, text: str, known: Collection[str] = ()) -> Masked:
        """Return a text without its secrets. Raises what YAML raises: of a malformed one nothing can be shown.

        ``known``: secrets besides those that stand in it as values.
        """
        found = [(path, node) for path, node in _scalars(composed(text)) if is_secret(path)]
        hide = _hiding({*known, *(word for _, node in found for word in _words(node, text))})
        values: dict[tuple[str, ...], str] = {}
        for path, node in reversed(found):
            start, end = node.start_mark.index, end_of(node)
            if start < end:
                source = text[start:end]
                values[path] = _quoted(node) if isinstance(node, yaml.ScalarNode) and "\n" in source else source
                shown = f'"{KEPT}"' if text[end : end + 1] == "#" else KEPT  # where only quotes let a comment begin
                text = text[:start] + (f"{KEPT}\n" if source.endswith("\n") else shown) + text[end:]
        comments: dict[str, list[str]] = {}
        lines = []
        for line in text.splitlines(keepends=True):
            shown = _COMMENT.sub(lambda comment: hide(comment[0]), line.rstrip("\r\n"))
            if shown != line.rstrip("\r\n"):
                comments.setdefault(shown, []).append(line.rstrip("\r\n"))
            lines.append(shown + line[len(line.rstrip("\r\n")) :])
        others = frozenset(str(node.value) for path, node in _scalars(composed(text)) if not is_secret(path))
        return cls("".join(lines), values, comments, others)

    def restored(self, text: str) -> str:
        """Return a text that was made from the one that is shown, with the secrets in their places.

        Raises `ConfigError` where something is to be kept that there is not, and where a secret would be shown in
        another place; and what YAML raises.
        """
        ends = [line[len(line.rstrip("\r\n")) :] for line in text.splitlines(keepends=True)]
        left = {shown: [*lines] for shown, lines in self.comments.items()}
        lines = [_next(left.get(line, [line])) for line in text.splitlines()]
        text = "".join(line + end for line, end in zip(lines, ends, strict=True))
        for path, node in reversed(list(_scalars(composed(text)))):
            if node.value != KEPT:
                continue
            if path not in self.values:
                problem = f"{KEPT} keeps the secret that the file has here, and it has none: write the value itself"
                raise ConfigError(f"{'.'.join(path)}: {problem}", path=path, problem=problem)
            start, end = node.start_mark.index, end_of(node)
            text = text[:start] + self.values[path] + text[end:]
        self._check_hidden(text)
        return text

    def _check_hidden(self, text: str) -> None:
        """Raise `ConfigError` where a secret has become a part of what is no secret, and would be shown."""
        hidden = [plain for plain in map(str, map(plain_value, self.values.values())) if len(plain) >= LEAST_SECRET]
        hidden += [line.lstrip("\ufeff \t#") for lines in self.comments.values() for line in lines]
        for path, node in _scalars(composed(text)):
            value = str(node.value)
            if not is_secret(path) and value not in self.others and any(word in value for word in hidden):
                problem = "a secret of the file would stand here, where it is shown to everybody"
                raise ConfigError(f"{'.'.join(path)}: {problem}", path=path, problem=problem)


def _scalars(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Yield the values of a tree, and whatever is below the name of a secret as one."""
    if isinstance(node, yaml.CollectionNode) and not (path and is_secret(path)):
        for number, item in enumerate(node.value):
            name, inner = (str(item[0].value), item[1]) if isinstance(item, tuple) else (str(number), item)
            yield from _scalars(inner, (*path, name))
    elif node is not None and path:
        yield path, node


def _words(node: yaml.Node, text: str) -> Iterator[str]:
    """Yield what a comment may repeat of a secret: each value in it, line for line, and how it is written."""
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for inner in item if isinstance(item, tuple) else (item,):
                yield from _words(inner, text)
        return
    yield from (line.strip() for line in node.value.splitlines())
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        yield from (line.strip().strip(node.style) for line in text[node.start_mark.index : end_of(node)].splitlines())


def _hiding(secrets: Collection[str]) -> Callable[[str], str]:
    """Return what gives a comment without what it says of secrets; of two that begin alike the longer one goes."""
    words = sorted(filter(None, secrets), key=len, reverse=True)
    parts = [re.escape(word) if len(word) >= LEAST_SECRET else rf"(?<!\w){re.escape(word)}(?!\w)" for word in words]
    repeated = re.compile("|".join(parts) or r"(?!)")
    return lambda comment: repeated.sub(KEPT, _SAID.sub(rf"\1{KEPT}", comment))


def _next(lines: list[str]) -> str:
    return lines.pop(0) if len(lines) > 1 else lines[0]


def _quoted(node: yaml.ScalarNode) -> str:
    dumped: str = yaml.safe_dump(node.value, default_style='"', width=10**9)
    return dumped.rstrip("\n")
