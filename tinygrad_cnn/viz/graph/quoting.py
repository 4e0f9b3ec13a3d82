"""Any text made safe for DOT, for HTML and for Mermaid."""

from __future__ import annotations

import re

# What XML 1.0 cannot hold, and lone surrogates, which no file can.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def html_escaped(text: str) -> str:
    """``text`` for HTML: shown as it is.

    >>> html_escaped('<script>"x" & y')
    '&lt;script&gt;&quot;x&quot; &amp; y'
    """
    text = _legal(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def label_escaped(text: str) -> str:
    r"""``text`` for Graphviz's HTML-like labels, in which too ``\N`` stands for a node's name."""
    return html_escaped(text).replace("\\", "\\\\")


def dot_quoted(text: str) -> str:
    r"""``text`` as a quoted string of DOT, in which no escape means anything.

    >>> print(dot_quoted('a "b" \\N'))
    "a \"b\" \\N"
    """
    text = " ".join(_legal(text).split())
    # Entities too, which Graphviz would resolve in any string.
    return '"' + text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') + '"'


def mermaid_escaped(text: str) -> str:
    """``text`` for a quoted label of Mermaid: everything with a meaning as a numeric entity.

    >>> mermaid_escaped('a"b<c>')
    'a#34;b#60;c#62;'
    """
    text = " ".join(_legal(text).split())
    special = '"#&<>`\\{}[]()|;%'
    return "".join(f"#{ord(c)};" if c in special else c for c in text)


def script_json(text: str) -> str:
    """JSON text for a ``<script>`` element, which no string in it can close."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
