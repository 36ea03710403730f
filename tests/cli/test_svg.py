"""A drawing is told from an SVG that could run code, or ask for something, in who opens it."""

from __future__ import annotations

import pytest

from sandkasten_kernels.cli.svg import is_drawing

ROOT = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">{}</svg>'
)
PLOT = """\
<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="460.8pt" height="345.6pt" viewBox="0 0 460.8 345.6"
 xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><rdf:RDF xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:cc="http://creativecommons.org/ns#"
   xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work>
    <dc:type rdf:resource="http://purl.org/dc/dcmitype/StillImage"/><dc:date>2026-01-01</dc:date>
    <dc:creator><cc:Agent><dc:title>Matplotlib v3.10, https://matplotlib.org/</dc:title></cc:Agent></dc:creator>
  </cc:Work></rdf:RDF></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style></defs>
 <g id="figure_1"><path d="M 0 0 L 4 5" clip-path="url(#p1)" style="fill: none; stroke: #1f77b4"/>
  <g transform="translate(1 2) scale(0.1 -0.1)"><use xlink:href="#m1" x="1" style="fill: rgb(1, 2, 3)"/></g>
  <image xlink:href="data:image/png;base64,
iVBORw0KGgo=" id="i" width="1"/><text>a &lt; f(x)</text></g>
 <defs><clipPath id="p1"><rect x="1" y="1" width="2" height="2"/></clipPath></defs>
</svg>
"""


@pytest.mark.parametrize("text", [PLOT, ROOT.format('<circle r="1"/><!-- nothing -->'), ROOT.format("")])
def test_a_drawing_is_one(text: str) -> None:
    assert is_drawing(text.encode())


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<script xlink:href="https://example.org/x.js"/>',
        '<g onload="alert(1)"/>',
        '<g ONLOAD="alert(1)"/>',
        "<foreignObject/>",
        '<body xmlns="http://www.w3.org/1999/xhtml"/>',
        '<h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script>',
        '<a xlink:href="javascript:alert(1)"><text>here</text></a>',
        '<g><set attributeName="href" to="javascript:alert(1)"/></g>',
        '<use href="https://example.org/x.svg#a"/>',
        '<use xlink:href="data:image/svg+xml;base64,AAAA#a"/>',
        '<image href="file:///etc/passwd"/>',
        '<image href=" #"/>',
        '<g xml:base="https://example.org/"/>',
        '<path style="fill: url(https://example.org/)"/>',
        '<path fill="URL( //example.org/ )"/>',
        '<path style="background: image-set(&quot;https://example.org/&quot; 1x)"/>',
        '<path style="fill: u\\72l(https://example.org/)"/>',
        "<style>@import 'https://example.org/'</style>",
        "<style><![CDATA[* { fill: url(x) }]]></style>",
        "<style>* { fill: u</style><style>rl(x) }</style>",
        '<?xml-stylesheet href="x.xsl"?>',
        "<unknown/>",
        "<g>",
        "&entity;",
    ],
)
def test_what_no_drawing_needs_is_refused(inside: str) -> None:
    assert not is_drawing(ROOT.format(inside).encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<svg/>",
        "no svg",
        '<!DOCTYPE svg [<!ENTITY e "x">]>' + ROOT.format("&e;"),
        '<!DOCTYPE svg SYSTEM "https://example.org/x.dtd">' + ROOT.format(""),
        '<?xml version="1.0" encoding="utf-7"?>' + ROOT.format(""),
        '<?xml-stylesheet type="text/xsl" href="#x"?>' + ROOT.format(""),
        ROOT.format("") + "<script/>",
    ],
)
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    assert not is_drawing(text.encode())
