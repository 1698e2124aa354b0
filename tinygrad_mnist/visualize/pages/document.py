"""One file of a page: style, data and script inside it, and a policy that lets nothing else run or be fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from tinygrad_mnist.files import whole
from tinygrad_mnist.visualize.notation import printable

HERE = Path(__file__).parent

HEIGHT = 760
"""Of a page in a notebook, in CSS pixels."""


class Page:
    """A page, which shows itself in notebooks; `str(page)` is the HTML, `save` writes it.

    Attributes:
        html: the whole document, which needs nothing else.
        size: bytes of it.
    """

    def __init__(self, html: str) -> None:
        self.html = html

    @property
    def size(self) -> int:
        """How many bytes a file of it has."""
        return len(self.html.encode())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whole or not at all, and return its path.

        Raises:
            ValueError: the name does not end in .html or .htm.
            OSError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"save: expected a file name that ends in .html, got {str(path)!r}")
        with whole(path) as part:
            part.write_text(self.html, encoding="utf-8", newline="\n")
        return path

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<page of {self.size:,} bytes; .save('step.html') writes it>"

    def _repr_html_(self) -> str:
        """A frame of its own for notebooks: what is in it can reach nothing around it."""
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" width="100%" height="{HEIGHT}" '
            'sandbox="allow-scripts" style="border:1px solid #8888; border-radius:8px"></iframe>'
        )


def document(title: str, data: Any, styles: Sequence[str], scripts: Sequence[str], body: str) -> str:
    """A whole HTML document.

    Args:
        title: of the window.
        data: what the script finds, as JSON, in the element "data".
        styles, scripts: files of this directory, in order; scripts are modules, which are joined to one.
        body: the HTML that the script fills.
    """
    style, script = "\n".join(map(_text, styles)), joined(scripts)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(printable(title))}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{as_json(data)}</script>\n<script>{script}</script>\n'
        "</body>\n</html>\n"
    )


def as_json(data: Any) -> str:
    """JSON that can stand inside an HTML element: nothing in it ends the element, or begins a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    marks = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    text = re.sub("[<>&\u2028\u2029]", lambda match: marks[match[0]], text)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def joined(scripts: Sequence[str]) -> str:
    """Modules as one script: in this order they need no imports."""
    text = "\n".join(map(_text, scripts))
    text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
    return f'(() => {{\n"use strict";\n{re.sub(r"^export ", "", text, flags=re.MULTILINE)}}})();'


@cache
def _text(name: str) -> str:
    """A file of this directory, of which no line can end the element that it stands in."""
    return (HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
