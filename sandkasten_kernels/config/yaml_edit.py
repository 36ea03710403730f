"""Other values in a YAML text whose comments, order and layout stay as they are; pure, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .document import composed, plain_value

__all__ = ["UNSET", "edited", "end_of"]

UNSET: Any = object()
"""As a value: the key is to go."""

_FOREVER = 10**9


def edited(text: str, changes: Mapping[tuple[str, ...], Any]) -> str:
    """Return a mapping in YAML with other values at the paths of ``changes``.

    Only the lines of what changes are touched. Where a layout is too odd for that, all is written anew, without
    comments; what is returned is always right. Raises what YAML raises for a malformed ``text``.
    """
    wanted = plain_value(text) or {}
    result = text
    for path, value in changes.items():
        for inner, part in _parts(_at(wanted, path), path, value):
            result = _changed(result, inner, part)
        _put(wanted, path, value)
    try:
        right = _without_empty(plain_value(result)) == _without_empty(wanted)
    except ValueError:
        right = False
    return result if right else _dumped(wanted, flow=False)


def end_of(node: yaml.Node) -> int:
    """Return where the text of a node ends: before the comments and empty lines that YAML counts to a block."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _parts(old: Any, path: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Return a change as the smallest ones that make it up: of a mapping, those of its entries."""
    if not (isinstance(old, dict) and isinstance(value, dict) and old and value):
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
    """Return the text without a key and its value; a comment beside them goes too."""
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    return text[:start] + _rest(text, end_of(node)).removeprefix("\n")


def _rest(text: str, end: int) -> str:
    """Return what stands after the line in which something ends, with the end of the line."""
    if text[end - 1 : end] == "\n":
        return text[end - 1 :]
    position = text.find("\n", end)
    return text[position:] if position >= 0 else ""


def _after(text: str, end: int, entry: str) -> str:
    """Return the text with ``entry`` below the line in which something ends."""
    if text[end - 1 : end] == "\n":
        return text[:end] + entry + text[end:]
    position = text.find("\n", end)
    return text[: position + 1] + entry + text[position + 1 :] if position >= 0 else text + "\n" + entry


def _entry(path: tuple[str, ...], value: Any, column: int) -> str:
    """Return the lines of a new key, which may stand in a section that is new too."""
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
    """Return a value in YAML, with its letters as they are unless PyYAML would not read them again."""
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
    """Return data as settings are compared: an empty section sets nothing."""
    return {name: value for name, value in (data or {}).items() if value not in (None, {})}
