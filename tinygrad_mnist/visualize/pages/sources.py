"""The user's own code: the functions in which a graph was made, and which of their lines made what."""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_mnist.tensor import Tensor
from tinygrad_mnist.visualize.tracing import Origin, Place

MOST = 60
"""Lines of one function or file that are shown; of a longer one those around the lines that ran."""

_AROUND = 6

Key = tuple[str, str, int]


@dataclass
class Source:
    """A function, or a part of a file: its lines, of which the first has the number `first`."""

    title: str
    first: int
    lines: list[str]


@dataclass
class Sources:
    """The functions that are shown; for each Tensor the (function, line) pairs that ran when it was made.

    `marks` are the lines of the outermost function that clear gradients, go back and update, if it has them.
    """

    functions: list[Source] = field(default_factory=list)
    at: dict[Tensor, list[tuple[int, int]]] = field(default_factory=dict)
    marks: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def sources(tensors: Iterable[Tensor], output: Tensor, first: Sequence[Callable[..., Any]] = ()) -> Sources:
    """Where the Tensors were made, as far as `trace()` watched and the code can be read.

    The outermost function is the one in which the output itself was made; of the others those that it called. Before
    them stand the functions in `first`.
    """
    made = {t: t.origin for t in tensors if hasattr(t, "origin")}
    home = _home(made[output]) if output in made else None
    used: dict[Key, set[int]] = {}
    places: dict[Tensor, list[Place]] = {}
    for t, origin in made.items():
        places[t] = _from_home(origin, home)
        for place in places[t]:
            used.setdefault(_key(place), set()).add(place.line)
    found = Sources()
    for function in first:
        code = inspect.unwrap(getattr(function, "__func__", function)).__code__
        source = _read((code.co_filename, function.__qualname__, code.co_firstlineno), {code.co_firstlineno})
        if source is not None:
            found.functions.append(source)
    number: dict[Key, int] = {}
    for key, lines in used.items():
        source = _read(key, lines)
        if source is not None:
            number[key] = len(found.functions)
            found.functions.append(source)
    for t in places:
        pairs = [(number[_key(place)], place.line) for place in places[t] if _key(place) in number]
        found.at[t] = [(i, n) for i, n in pairs if 0 <= n - found.functions[i].first < len(found.functions[i].lines)]
    if home is not None and home in number:
        found.marks = _marks(found.functions[number[home]], number[home])
    return found


def _key(place: Place) -> Key:
    return place.file, place.function, place.first


def _home(origin: Origin) -> Key | None:
    own = [p for p in origin.stack if (p.file, p.line, p.function) == (origin.file, origin.line, origin.function)]
    return _key(own[-1]) if own else None


def _from_home(origin: Origin, home: Key | None) -> list[Place]:
    """The running lines, from the outermost function that is shown inwards."""
    keys = [_key(place) for place in origin.stack]
    for start in (home, _home(origin)):
        if start in keys:
            return list(origin.stack[len(keys) - 1 - keys[::-1].index(start) :])
    return []


def _read(key: Key, used: set[int]) -> Source | None:
    file, function, first = key
    lines = linecache.getlines(file)
    if not lines:
        return None
    start, stop = 1, len(lines)
    if function != "<module>":
        try:
            start, stop = first, first - 1 + len(inspect.getblock(lines[first - 1 :]))
        except (IndexError, SyntaxError):
            start = first
    if stop - start >= MOST:
        lowest = max(start, min(used) - _AROUND)
        start, stop = lowest, min(stop, max(used) + _AROUND, lowest + 2 * MOST)
    text = textwrap.dedent("".join(lines[start - 1 : stop])).splitlines()
    name = "" if function == "<module>" else f" in {function}"
    return Source(f"{os.path.basename(file)}:{start}{name}", start, text)


def _marks(source: Source, number: int) -> dict[str, list[tuple[int, int]]]:
    """The lines of a function that call zero_grad, backward (or grad) and step."""
    try:
        tree = ast.parse("\n".join(source.lines))
    except SyntaxError:  # as of a part of a function
        return {}
    phases = {"zero_grad": "clear", "backward": "backward", "grad": "backward", "step": "update"}
    found: dict[str, list[tuple[int, int]]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if name in phases:
                found.setdefault(phases[name], []).append((number, source.first + node.lineno - 1))
    return found
