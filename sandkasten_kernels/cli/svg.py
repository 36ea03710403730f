"""Whether an SVG is a drawing and nothing else: a browser that opens one from the disk runs what is in it."""

from __future__ import annotations

import re
from xml.parsers import expat

__all__ = ["is_drawing"]

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_XML, _RDF = "http://www.w3.org/XML/1998/namespace", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ABOUT = (_RDF, "http://creativecommons.org/ns#", "http://purl.org/dc/elements/1.1/")
"""What tells of a drawing; no program does anything with it."""
_ELEMENTS = frozenset((
    "circle", "clipPath", "defs", "desc", "ellipse", "g", "image", "line", "linearGradient", "marker", "mask",
    "metadata", "path", "pattern", "polygon", "polyline", "radialGradient", "rect", "stop", "style", "svg", "symbol",
    "text", "textPath", "title", "tspan", "use",
))  # fmt: skip
_FUNCTIONS = frozenset((
    "cubic-bezier", "hsl", "hsla", "matrix", "polygon", "rect", "rgb", "rgba", "rotate", "scale", "skewx", "skewy",
    "translate", "url",
))  # fmt: skip
_FUNCTION = re.compile(r"([\w-]*)\s*\(")
_ELSEWHERE = re.compile(r"url\s*\((?!\s*['\"]?#)", re.IGNORECASE)
_PIXELS = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")


class _Refused(Exception):
    """There is something that no drawing needs."""


def is_drawing(svg: bytes) -> bool:
    """Return whether a text in UTF-8 is an SVG of shapes, words, pixels and their looks alone.

    It then runs nothing, is changed by nothing, and asks nobody on the network for anything. What is not known is taken
    for the worst: scripts, handlers of events, links, animations, foreign elements, references to other documents.
    """
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    looks: list[str] = []
    inside: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        _check_element(name)
        for attribute, value in attributes.items():
            _check_attribute(attribute, value)
        inside.append(name)

    def words(text: str) -> None:
        if inside[-1] == f"{_SVG} style":
            looks.append(text)

    parser.XmlDeclHandler = _check_declaration
    parser.StartDoctypeDeclHandler = _check_doctype
    parser.ProcessingInstructionHandler = _refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda name: inside.pop()
    parser.CharacterDataHandler = words
    try:
        parser.Parse(svg, True)
        _check_looks("".join(looks))
    except (expat.ExpatError, _Refused):
        return False
    return True


def _refuse(*_: object) -> None:
    raise _Refused


def _check_declaration(version: str, encoding: str | None, standalone: int) -> None:
    if version != "1.0" or (encoding or "utf-8").lower() not in ("utf-8", "us-ascii"):
        raise _Refused


def _check_doctype(name: str, system_id: str | None, public_id: str | None, has_internal_subset: bool) -> None:
    if has_internal_subset or not (system_id or "http://www.w3.org/").startswith("http://www.w3.org/"):
        raise _Refused


def _check_element(name: str) -> None:
    namespace, _, local = name.rpartition(" ")
    if not (namespace == _SVG and local in _ELEMENTS) and namespace not in _ABOUT:
        raise _Refused


def _check_attribute(name: str, value: str) -> None:
    namespace, _, local = name.rpartition(" ")
    if local == "href" and namespace in ("", _XLINK):
        if not value.startswith("#") and not _PIXELS.fullmatch(value):
            raise _Refused
    elif namespace == _XML:
        if local not in ("space", "lang"):
            raise _Refused
    elif namespace not in ("", _XLINK, _RDF) or local.lower().startswith("on"):
        raise _Refused
    elif local != "id":
        _check_looks(value)


def _check_looks(text: str) -> None:
    """Refuse what asks for something elsewhere, and whatever could hide that: escapes, rules, functions not known."""
    if any(sign in text for sign in ("\\", "@", "<")) or _ELSEWHERE.search(text):
        raise _Refused
    if not all(name.lower() in _FUNCTIONS or not name for name in _FUNCTION.findall(text)):
        raise _Refused
