"""A picture as a file, or in a notebook: drawn by whichever `dot` there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.files import whole

if TYPE_CHECKING:
    from graphviz import Digraph


FONT = "DejaVu Sans"
"""What dot measures the texts with, which knows its widths where it is not installed, too. It is among the widest: what
is shown in another one fits into its box as well, which it does not the other way round. (PNG and PDF hold their fonts:
they are drawn with Arial, of which graphviz-pure brings a double along.)"""

FAMILIES = f"{FONT},Verdana,Geneva,sans-serif"
"""In an SVG: Verdana is as wide, and is where DejaVu is not. (Not in the DOT text: dot does not know the list.)"""


def save(picture: Digraph, path: str | os.PathLike[str]) -> Path:
    """Write a picture to a file and return its path; by the suffix as .svg, .png, .pdf, or as DOT text (.dot, .gv).

    Drawn by the system's `dot`, or without one by graphviz-pure's, which draws SVG and PNG. In an SVG the mouse shows
    of each node its formula, shape and, of what was computed under `trace()`, the line of code that made it. The file
    is written whole or not at all.

    Raises:
        ValueError: an unknown suffix.
        TypeError: it is no picture.
        RuntimeError: there is nothing that can draw it; the DOT text is kept beside it, as .gv.
        OSError: the file cannot be written.
    """
    if not hasattr(picture, "source"):
        raise TypeError(f"save: expected a picture, as graph(t) makes one, got a {type(picture).__name__}")
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"save: expected the name of a file after the picture, got {in_one_line(path)}")
    path = Path(path)
    kind = path.suffix.lower()[1:]
    if kind not in ("svg", "png", "pdf", "dot", "gv"):
        raise ValueError(f"save: expected a file name that ends in .svg, .png, .pdf, .dot or .gv, got {str(path)!r}")
    if kind in ("dot", "gv"):
        return _written(path, picture.source.encode())
    try:
        content = rendered(picture.source, kind)
    except RuntimeError as error:
        text = _written(path.with_suffix(".gv"), picture.source.encode())
        raise RuntimeError(f"save: {path} is not drawn: {error}; its DOT text is in {text}") from None
    return _written(path, content)


def _written(path: Path, content: bytes) -> Path:
    try:
        with whole(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(f"save: cannot write {path}: {error.strerror or error}; choose another place") from None
    return path


def rendered(source: str, kind: str) -> bytes:
    """The picture, drawn by the first program that can; a RuntimeError that says why and what to do if none can."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    pure = shutil.which("graphviz-pure", path=places)
    reason = "no dot program was found"
    source = source if kind == "svg" else source.replace(f'fontname="{FONT}"', "fontname=Arial")
    for program in filter(None, (shutil.which("dot"), pure)):
        sharp = ["-Gdpi=144"] if kind == "png" else []
        try:
            run = subprocess.run(
                [program, f"-T{kind}", *sharp], input=source.encode(), capture_output=True, timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = f"{program} failed: {error}"
            continue
        if run.returncode == 0 and run.stdout:
            return _with_titles(_with_families(run.stdout)) if kind == "svg" else run.stdout
        says = run.stderr.decode(errors="replace").split("\n")[0]
        reason = f"{program} did not draw it as {kind} ({says})"
    other = "pip install graphviz-pure, for SVG and PNG" if pure is None else "name a .svg or .png file"
    raise RuntimeError(f"{reason}; install Graphviz (graphviz.org), or {other}")


def _with_families(svg: bytes) -> bytes:
    """The picture with fonts for where there is no DejaVu."""
    return svg.replace(f'font-family="{FONT}"'.encode(), f'font-family="{FAMILIES}"'.encode())


def _with_titles(svg: bytes) -> bytes:
    """The picture with its tooltips as titles too, in place of graphviz's own, n0: some programs show only those."""
    titled = rb'<title>[^<]*</title>(\s*<g id="a_[^"]*"><a xlink:title="([^"]*)">)'
    return re.sub(rb"<title>%3</title>\s*", b"", re.sub(titled, rb"<title>\2</title>\1", svg))


@cache
def picture_class() -> type[Digraph]:
    """A Digraph that shows itself in Jupyter without the system's dot too."""
    import graphviz

    class Picture(graphviz.Digraph):
        def __repr__(self) -> str:
            size = len(re.findall(r"^\s*n\d+ \[", self.source, re.MULTILINE))
            return f"<picture of {size} node{'' if size == 1 else 's'}; visualize.save(picture, 'graph.svg') draws it>"

        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, str]:
            try:
                return {"image/svg+xml": rendered(self.source, "svg").decode()}
            except RuntimeError as error:
                return {"text/plain": f"{self.source}\n{error}"}

    return Picture
