"""Small tables: one number of an array, and the terms that it is the sum of, or what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

MOST_ROWS = 10
"""How many terms are shown one by one; the smallest of more are shown as their sum."""

Place = tuple[int, ...]
Cell = str | list[str]
"""A text; or, in a list, a number, with the digits that tell it from all others."""


def table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]], foot: Sequence[Cell] = ()
) -> dict[str, Any]:
    """A table as a page holds it."""
    return {"title": title, "heads": list(heads), "rows": [list(row) for row in rows], "foot": list(foot)}


def number(x: Any) -> list[str]:
    """The cell of a number."""
    return [str(x)]


def largest(array: Array) -> Place | None:
    """Where the number farthest from 0 stands; None if it is not finite, or there is none."""
    if not array.size or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.abs(array).argmax()), array.shape))


def at(name: str, place: Sequence[Any]) -> str:
    """What the number at this place is called."""
    return f"{name}[{', '.join(map(str, place))}]" if place else name


def sum_of(title: str, heads: Sequence[str], labels: Sequence[str], columns: Sequence[Array], total: Any) -> Any:
    """The terms of a sum, in the last of the columns, with what they are computed from before it; and the sum."""
    terms = columns[-1]
    shown = range(len(terms))
    if len(terms) > MOST_ROWS + 1:
        shown = sorted(np.argsort(-np.abs(terms), kind="stable")[:MOST_ROWS].tolist())  # type: ignore[assignment]
    rows: list[list[Cell]] = [[labels[i], *(number(column[i]) for column in columns)] for i in shown]
    blank = [""] * (len(columns) - 1)
    if len(rows) < len(terms):
        others = np.delete(terms, list(shown)).sum()
        rows.append([f"{len(terms) - len(rows)} smaller ones", *blank, number(others)])
    return table(title, heads, rows, ["sum", *blank, number(total)])
