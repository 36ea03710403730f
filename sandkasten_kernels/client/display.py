"""HTML of results for notebooks.

Output of a sandbox is shown as text, as an image, or in a frame of its own: none of its code runs in the page.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["frame_html", "image_html", "table_html", "text_html"]

FRAME_ROW_PX, FRAME_LEAST_PX, FRAME_MOST_PX = 25, 40, 600
TEXT_STYLE = "font-family: monospace; line-height: 1.3; white-space: pre-wrap"
FRAME_STYLE = (
    "<style>body { font: 13px sans-serif; margin: 4px } table { border-collapse: collapse; border: 0 } "
    "th, td { border: 0; padding: 3px 8px; text-align: right } tr:nth-child(even) { background: #f4f4f4 }</style>"
)


def text_html(text: str, *, bad: bool = False) -> str:
    """Return preformatted text. ``bad``: with a red edge, for a failure."""
    edge = "; border-left: 3px solid #c62828; padding-left: 0.6em" if bad else ""
    return f'<pre style="{TEXT_STYLE}{edge}">{escape(text)}</pre>' if text else ""


def image_html(mime: str, data: bytes) -> str:
    """Return an image. In an ``<img>``, scripts of an SVG do not run."""
    return f'<img src="data:{escape(mime, quote=True)};base64,{base64.b64encode(data).decode()}">'


def frame_html(document: str) -> str:
    """Return a document in a sandboxed frame, which runs no scripts and has no access to the page."""
    height = min(FRAME_MOST_PX, FRAME_LEAST_PX + FRAME_ROW_PX * document.count("<tr"))
    style = f"width: 100%; height: {height}px; border: 0; background: #fff"
    return f'<iframe sandbox style="{style}" srcdoc="{escape(FRAME_STYLE + document, quote=True)}"></iframe>'


def table_html(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table. A mapping in a cell becomes ``key=value``."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    return "" if value is None else str(value)
