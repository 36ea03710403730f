"""New values in a YAML text whose comments, order and layout stay as they are; pure, without I/O.

Written by hand, because ruamel.yaml 0.19 failed 7 of the 35 tests in tests/config/test_yaml_edit.py: it loses the
comments behind a removed key and in a replaced list, and writes ``yes`` without the quotes that make it a string in
YAML 1.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from .document import composed, plain_value

__all__ = ["UNSET", "edited", "end_of", "lost_comments"]

UNSET: Any = object()
"""As a value: remove the key."""

_FOREVER = 10**9
_COMMENT = re.compile(r"#[^\r\n]*")


def edited(text: str, changes: Mapping[tuple[str, ...], Any]) -> str:
    """Return a YAML mapping with other values at the paths of ``changes``.

    Only the lines of the changed values differ. A layout that this module cannot edit is written anew without its
    comments, which `lost_comments` counts; the values are right in any case. Raises the errors of YAML for a malformed
    ``text``.
    """
    target = plain_value(text) or {}
    result = text
    for path, value in changes.items():
        for inner, part in _parts(_at(target, path), path, value):
            result = _changed(result, inner, part)
        _put(target, path, value)
    try:
        # the edits go by position in the text: this checks what the result means to YAML
        right = _without_empty(plain_value(result)) == _without_empty(target)
    except ValueError:
        right = False
    return result if right else _dumped(target, flow=False)


def lost_comments(before: str, after: str) -> int:
    """Return how many comments of a YAML text are missing in its edited version."""
    return (Counter(_comments(before)) - Counter(_comments(after))).total()


def _comments(text: str) -> Iterator[str]:
    position = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        yield from _COMMENT.findall(text, position, token.start_mark.index)
        position = max(position, token.end_mark.index)
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):  # the header of a block is in its token
            yield from _COMMENT.findall(text[token.start_mark.index : token.end_mark.index].partition("\n")[0])
    yield from _COMMENT.findall(text, position)


def end_of(node: yaml.Node) -> int:
    """Return the index at which a node ends: before the comments and empty lines that YAML counts to a block."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _parts(old: Any, path: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Split a change into the smallest ones: a change of a mapping into those of its entries."""
    if not (isinstance(old, dict) and isinstance(value, dict) and old and value):
        # the types too: in Python True equals 1
        return [] if value is not UNSET and old == value and type(old) is type(value) else [(path, value)]
    found = [part for name in value for part in _parts(old.get(name, UNSET), (*path, name), value[name])]
    return found + [((*path, name), UNSET) for name in old if name not in value]


def _changed(text: str, path: tuple[str, ...], value: Any) -> str:
    root = composed(text)
    if not isinstance(root, yaml.MappingNode):
        return text if value is UNSET else _line_end(text) + _entry(path, value, 0)
    node, depth = root, 0
    while not node.flow_style:
        found = next(((key, inner) for key, inner in node.value if key.value == path[depth]), None)
        if found is None:
            if value is UNSET:
                return text
            return _after(text, end_of(node), _entry(path[depth:], value, node.start_mark.column))
        key, inner = found
        depth += 1
        if depth == len(path):
            return _without(text, key, inner) if value is UNSET else _with(text, key, inner, value)
        if not isinstance(inner, yaml.MappingNode):  # a section that is empty
            if value is UNSET:
                return text
            emptied = text[: key.end_mark.index] + ":" + text[end_of(inner) :]
            at = key.end_mark.index + 1
            return _after(emptied, at, _entry(path[depth:], value, node.start_mark.column + 2))
        node = inner
    data = plain_value(text[node.start_mark.index : node.end_mark.index])
    _put(data, path[depth:], value)
    return text[: node.start_mark.index] + _flow(data) + text[node.end_mark.index :]


def _with(text: str, key: yaml.Node, node: yaml.Node, value: Any) -> str:
    """Return the text with another value of a key."""
    start, end = node.start_mark.index, end_of(node)
    in_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if in_block and isinstance(node, yaml.SequenceNode) and isinstance(value, list) and value:
        lines = f"\n{' ' * node.start_mark.column}".join(f"- {_flow(item)}" for item in value)
        return text[:start] + lines + text[end:]
    if in_block:
        between = text[key.end_mark.index : start].partition("\n")[0].rstrip().removeprefix(":")
        return f"{text[: key.end_mark.index]}: {_flow(value)}{between}{_rest(text, end)}"
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return text[:start] + _flow(value) + "\n" + text[end:]
    space = " " if text[start - 1 : start] == ":" else ""
    return text[:start] + space + _flow(value) + text[end:]


def _without(text: str, key: yaml.Node, node: yaml.Node) -> str:
    """Return the text without a key, its value and a comment on the same lines."""
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    return text[:start] + _rest(text, end_of(node)).removeprefix("\n")


def _rest(text: str, end: int) -> str:
    """Return the text from the end of the line that contains the index ``end``."""
    if text[end - 1 : end] == "\n":
        return text[end - 1 :]
    position = text.find("\n", end)
    return text[position:] if position >= 0 else ""


def _after(text: str, end: int, entry: str) -> str:
    """Return the text with ``entry`` inserted below the line that contains the index ``end``."""
    if text[end - 1 : end] == "\n":
        return text[:end] + entry + text[end:]
    position = text.find("\n", end)
    return text[: position + 1] + entry + text[position + 1 :] if position >= 0 else text + "\n" + entry


def _entry(path: tuple[str, ...], value: Any, column: int) -> str:
    """Return the lines of a new key; they begin with those of its section where that is new too."""
    lines = "".join(f"{' ' * (column + 2 * depth)}{_flow(name)}:\n" for depth, name in enumerate(path[:-1]))
    indent = " " * (column + 2 * (len(path) - 1))
    if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
        body = "".join(f"\n{indent}  {line}" for line in _dumped(value, flow=None).split("\n")[:-1])
        return f"{lines}{indent}{_flow(path[-1])}:{body}\n"
    return f"{lines}{indent}{_flow(path[-1])}: {_flow(value)}\n"


def _flow(value: Any) -> str:
    """Return a value in one line."""
    return _dumped(value, flow=True).removesuffix("\n").removesuffix("\n...")


def _dumped(value: Any, *, flow: bool | None) -> str:
    """Return a value in YAML; characters that PyYAML would not read back are escaped."""
    dumped = ""
    for unicode in (True, False):
        dumped = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False, allow_unicode=unicode, width=_FOREVER)
        if plain_value(dumped) == value:
            break
    return dumped


def _line_end(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return UNSET
        data = data[name]
    return data


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(data.get(name), dict):
            data[name] = {}
        data = data[name]
    if value is UNSET:
        data.pop(path[-1], None)
    else:
        data[path[-1]] = value


def _without_empty(data: Any) -> Any:
    """Return data without its empty sections, which set nothing."""
    return {name: value for name, value in (data or {}).items() if value not in (None, {})}
