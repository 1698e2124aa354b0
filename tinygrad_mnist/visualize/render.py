"""A picture as a file, or in a notebook: drawn by whichever `dot` there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_mnist.files import whole

if TYPE_CHECKING:
    from graphviz import Digraph


FONTS = b'font-family="Arial,Helvetica,Liberation Sans,sans-serif"'
"""For where there is no Arial. (Not in the DOT text: a program that does not know the list measures too short.)"""


def save(picture: Digraph, path: str | os.PathLike[str]) -> Path:
    """Write a picture to a file and return its path; by the suffix as .svg, .png, .pdf, or as DOT text (.dot, .gv).

    Drawn by the system's `dot`, or without one by graphviz-pure's (which has no PDF). Where neither can, the DOT text
    is written beside it instead, and a line on standard error says how to get the picture. The file is written whole
    or not at all.

    Raises:
        ValueError: an unknown suffix.
        OSError: the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()[1:]
    if kind not in ("svg", "png", "pdf", "dot", "gv"):
        raise ValueError(f"save: expected a file name that ends in .svg, .png, .pdf, .dot or .gv, got {str(path)!r}")
    content, problem = picture.source.encode(), ""
    if kind in ("svg", "png", "pdf"):
        try:
            content = rendered(picture.source, kind)
        except RuntimeError as error:
            path, problem = path.with_suffix(".gv"), str(error)
    try:
        with whole(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(f"save: cannot write {path}: {error.strerror or error}; choose another place") from None
    if problem:
        print(f"save: wrote {path} instead: {problem}", file=sys.stderr)
    return path


def rendered(source: str, kind: str) -> bytes:
    """The picture, drawn by the first program that can; a RuntimeError that says why and what to do if none can."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    programs = filter(None, (shutil.which("dot"), shutil.which("graphviz-pure", path=places)))
    reason = "no dot program was found"
    for program in programs:
        sharp = ["-Gdpi=144"] if kind == "png" else []
        try:
            run = subprocess.run(
                [program, f"-T{kind}", *sharp], input=source.encode(), capture_output=True, timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = f"{program} failed: {error}"
            continue
        if run.returncode == 0 and run.stdout:
            return run.stdout.replace(b'font-family="Arial"', FONTS) if kind == "svg" else run.stdout
        says = run.stderr.decode(errors="replace").split("\n")[0]
        reason = f"{program} did not draw it as {kind} ({says})"
    raise RuntimeError(f"{reason}; install Graphviz (graphviz.org), or for SVG and PNG: pip install graphviz-pure")


@cache
def picture_class() -> type[Digraph]:
    """A Digraph that shows itself in Jupyter without the system's dot too."""
    import graphviz

    class Picture(graphviz.Digraph):
        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, str]:
            try:
                return {"image/svg+xml": rendered(self.source, "svg").decode()}
            except RuntimeError as error:
                return {"text/plain": f"{self.source}\n{error}"}

    return Picture
