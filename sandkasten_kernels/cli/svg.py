"""is_drawing: whether an SVG is a mere drawing. A browser that opens an SVG file also runs the scripts in it.

The lists below were made by hand from the SVG that matplotlib and similar libraries write. They name what is allowed;
everything else is refused, so an element or a function that browsers learn later is refused as well.
"""

from __future__ import annotations

import re
from xml.parsers import expat

__all__ = ["is_drawing"]

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_XML, _RDF = "http://www.w3.org/XML/1998/namespace", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_METADATA = (_RDF, "http://creativecommons.org/ns#", "http://purl.org/dc/elements/1.1/")
"""Namespaces of metadata, which browsers ignore."""
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
    """The SVG contains something that is not on the lists."""


def is_drawing(svg: bytes) -> bool:
    """Return whether ``svg`` (UTF-8) is an SVG of nothing but shapes, text, pixel images and their styles.

    A browser that opens such an SVG runs no script, changes nothing in it and sends no request. Return False for
    anything else: scripts, event handlers, links, animations, foreign elements, references to other documents,
    anything unknown, and invalid XML.
    """
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    styles: list[str] = []
    inside: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        _check_element(name)
        for attribute, value in attributes.items():
            _check_attribute(attribute, value)
        inside.append(name)

    def characters(text: str) -> None:
        if inside[-1] == f"{_SVG} style":
            styles.append(text)

    parser.XmlDeclHandler = _check_declaration
    parser.StartDoctypeDeclHandler = _check_doctype
    parser.ProcessingInstructionHandler = _refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda name: inside.pop()
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(svg, True)
        _check_style("".join(styles))  # joined: expat may split a text, and CDATA sections would hide a word
    except (expat.ExpatError, _Refused):
        return False
    return True


def _refuse(*_: object) -> None:
    raise _Refused


def _check_declaration(version: str, encoding: str | None, standalone: int) -> None:
    if version != "1.0" or (encoding or "utf-8").lower() not in ("utf-8", "us-ascii"):
        raise _Refused


def _check_doctype(name: str, system_id: str | None, public_id: str | None, has_internal_subset: bool) -> None:
    # an internal subset defines entities, which can hide any word from these checks
    if has_internal_subset or not (system_id or "http://www.w3.org/").startswith("http://www.w3.org/"):
        raise _Refused


def _check_element(name: str) -> None:
    namespace, _, local = name.rpartition(" ")
    if not (namespace == _SVG and local in _ELEMENTS) and namespace not in _METADATA:
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
        _check_style(value)


def _check_style(text: str) -> None:
    r"""Raise `_Refused` for a reference to another document and for what could hide one.

    These are escapes (``\75rl``), at-rules (``@import``) and functions that are not on the list.
    """
    if any(sign in text for sign in ("\\", "@", "<")) or _ELSEWHERE.search(text):
        raise _Refused
    if not all(name.lower() in _FUNCTIONS or not name for name in _FUNCTION.findall(text)):
        raise _Refused
