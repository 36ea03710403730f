"""Masked: the text of a configuration file without its secrets, and the way back; pure, without I/O."""

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
"""Placeholder for a secret; in a saved text it keeps the secret of the file."""

_NAME = re.compile(r"api[-_ ]?key|token|secret|password", re.IGNORECASE)
_COMMENT = re.compile(r"""(?:^|(?<=[\s'"\[\]{},:]))#.*$""")
_SAID = re.compile(r"((?:api[-_ ]?key|token|secret|password)\w*['\"]?\s*[:=]\s*)\S.*$", re.IGNORECASE)
LEAST_SECRET = 4
"""Length from which a secret is masked in comments anywhere; a shorter one only as a separate word."""


def is_secret(path: tuple[str, ...]) -> bool:
    """Return whether the value at a path is a secret, also under a misspelt name; names of images are not secrets."""
    return path[-1] in SECRETS or (len(path) < 3 and path[0] != "images" and _NAME.search(path[-1]) is not None)


@dataclass(frozen=True)
class Masked:
    """A text without secrets, and the data that turn an edited version of it back into the real text.

    Attributes
    ----------
    text: has `KEPT` for each secret: as its value, and in comments that name or repeat one.
    values: the secrets in YAML, by their path.
    comments: the real lines with masked comments, in their order, by the masked line.
    others: the values that are not secret.
    """

    text: str
    values: dict[tuple[str, ...], str]
    comments: dict[str, list[str]]
    others: frozenset[str]

    @classmethod
    def of(cls, text: str, known: Collection[str] = ()) -> Masked:
        """Return a text without its secrets. Raises `yaml.YAMLError`: a malformed text cannot be shown.

        ``known``: further secrets, besides the values in the text.
        """
        found = [(path, node) for path, node in _scalars(composed(text)) if is_secret(path)]
        hide = _hiding({*known, *(word for _, node in found for word in _secret_parts(node, text))})
        values: dict[tuple[str, ...], str] = {}
        # from the end: the positions of the values before stay right
        for path, node in reversed(found):
            start, end = node.start_mark.index, end_of(node)
            if start < end:
                source = text[start:end]
                # a secret of several lines depends on its indentation; quoted in one line it fits everywhere
                values[path] = _quoted(node) if isinstance(node, yaml.ScalarNode) and "\n" in source else source
                # without quotes a comment right behind the value would become part of it
                shown = f'"{KEPT}"' if text[end : end + 1] == "#" else KEPT
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
        """Return an edited version of the masked text with the secrets put back.

        Raises `ConfigError` where `KEPT` stands for a secret that the file does not have, and where a secret would
        appear in a value that everybody sees; and `yaml.YAMLError`.
        """
        ends = [line[len(line.rstrip("\r\n")) :] for line in text.splitlines(keepends=True)]
        left = {shown: [*lines] for shown, lines in self.comments.items()}
        lines = [_next(left.get(line, [line])) for line in text.splitlines()]
        text = "".join(line + end for line, end in zip(lines, ends, strict=True))
        # from the end: the positions of the values before stay right
        for path, node in reversed(list(_scalars(composed(text)))):
            if node.value != KEPT:
                continue
            if path not in self.values:
                problem = f"{KEPT} keeps the secret that the file has here, but there is none: write the value itself"
                raise ConfigError(f"{'.'.join(path)}: {problem}", path=path, problem=problem)
            start, end = node.start_mark.index, end_of(node)
            text = text[:start] + self.values[path] + text[end:]
        self._check_hidden(text)
        return text

    def _check_hidden(self, text: str) -> None:
        """Raise `ConfigError` where a secret has become part of a value that is not secret."""
        hidden = [plain for plain in map(str, map(plain_value, self.values.values())) if len(plain) >= LEAST_SECRET]
        hidden += [line.lstrip("\ufeff \t#") for lines in self.comments.values() for line in lines]
        for path, node in _scalars(composed(text)):
            value = str(node.value)
            if not is_secret(path) and value not in self.others and any(word in value for word in hidden):
                problem = "this value would show a secret of the file to everybody"
                raise ConfigError(f"{'.'.join(path)}: {problem}", path=path, problem=problem)


def _scalars(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Yield the values of a tree with their paths; everything below the name of a secret is one value."""
    if isinstance(node, yaml.CollectionNode) and not (path and is_secret(path)):
        for number, item in enumerate(node.value):
            name, inner = (str(item[0].value), item[1]) if isinstance(item, tuple) else (str(number), item)
            yield from _scalars(inner, (*path, name))
    elif node is not None and path:
        yield path, node


def _secret_parts(node: yaml.Node, text: str) -> Iterator[str]:
    """Yield the parts of a secret that a comment may repeat: each value and its source, line by line."""
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for inner in item if isinstance(item, tuple) else (item,):
                yield from _secret_parts(inner, text)
        return
    yield from (line.strip() for line in node.value.splitlines())
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        yield from (line.strip().strip(node.style) for line in text[node.start_mark.index : end_of(node)].splitlines())


def _hiding(secrets: Collection[str]) -> Callable[[str], str]:
    """Return a function that masks secrets in a comment, longer ones first."""
    # longest first: a secret that contains another one is masked as a whole
    parts = sorted(filter(None, secrets), key=len, reverse=True)
    patterns = [re.escape(word) if len(word) >= LEAST_SECRET else rf"(?<!\w){re.escape(word)}(?!\w)" for word in parts]
    repeated = re.compile("|".join(patterns) or r"(?!)")
    return lambda comment: repeated.sub(KEPT, _SAID.sub(rf"\1{KEPT}", comment))


def _next(lines: list[str]) -> str:
    return lines.pop(0) if len(lines) > 1 else lines[0]


def _quoted(node: yaml.ScalarNode) -> str:
    # the width keeps PyYAML from folding the line
    dumped: str = yaml.safe_dump(node.value, default_style='"', width=10**9)
    return dumped.rstrip("\n")
