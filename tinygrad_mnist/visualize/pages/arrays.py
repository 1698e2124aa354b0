"""Arrays on a page: small ones whole, each number as Python writes it; large ones as an image and a part."""

from __future__ import annotations

import base64
import io
import math
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.tensor import Array

NEGATIVE, POSITIVE = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's colours, which colour-blind people can tell apart. Zero is transparent."""

_LEVELS = 15
_ROWS, _COLUMNS = 4, 6


class Detail(NamedTuple):
    """How much of arrays is shown: all numbers of those with so many, and so many images and pixels of larger ones."""

    numbers: int
    images: int
    pixels: int


DETAILS = [
    Detail(400, 30, 26_000), Detail(400, 15, 13_000), Detail(200, 12, 9_000), Detail(100, 6, 5_000),
    Detail(64, 4, 2_500), Detail(36, 2, 1_000), Detail(12, 1, 400), Detail(6, 0, 0),
]  # fmt: skip
"""From the most to the least: a page takes the first that fits into its size."""


def described(array: Array, detail: Detail) -> dict[str, Any]:
    """What a page tells of an array, as JSON can hold it: numbers as texts, as Python writes them.

    shape, dtype; of an array with elements min, max, mean and rms (in float64); values, all of them; or an image, and
    a part, the rows and columns around the element farthest from 0.
    """
    about: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size == 0:
        return about
    wide = _sizes(array)
    with np.errstate(all="ignore"):
        mean = float(wide.mean())
    about |= {"min": str(array.min()), "max": str(array.max()), "mean": repr(mean), "rms": repr(rms(array))}
    if array.size <= detail.numbers:
        about["values"] = written(array)
        return about
    sheet = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    about["part"] = _part(sheet)
    if image := _image(array, detail):
        about["image"] = image
    return about


def rms(array: Array) -> float:
    """The root mean square √(Σ x² / n) of the n numbers of an array, in float64: the size of a typical one.

    Unlike a norm it can be compared between arrays of different sizes.
    """
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(_sizes(array).ravel())) / max(1, array.size) ** 0.5


def _sizes(array: Array) -> Array:
    """The numbers in float64; of complex ones their sizes."""
    return (np.abs(array) if array.dtype.kind == "c" else array).astype(np.float64)


def written(array: Array) -> str:
    """All numbers, with spaces between: of floats the fewest digits that tell them from all others."""
    return " ".join(map(str, array.ravel()))


def _part(sheet: Array) -> dict[str, Any]:
    """A few rows and columns, around the element that is farthest from 0."""
    size = np.nan_to_num(np.abs(_sizes(sheet)), nan=np.inf)
    row, column = divmod(int(size.argmax()), sheet.shape[1])
    row = min(max(row - _ROWS // 2, 0), max(sheet.shape[0] - _ROWS, 0))
    column = min(max(column - _COLUMNS // 2, 0), max(sheet.shape[1] - _COLUMNS, 0))
    part = sheet[row : row + _ROWS, column : column + _COLUMNS]
    return {"row": row, "column": column, "columns": part.shape[1], "values": written(part)}


def _image(array: Array, detail: Detail) -> dict[str, Any] | None:
    tiles, what = _tiles(_sizes(array))
    rows, columns = tiles.shape[1:]
    shown = min(len(tiles), detail.images, detail.pixels // (rows * columns))
    if shown < 1:
        return None
    largest = float(np.nan_to_num(np.abs(tiles[:shown]), nan=0, posinf=0).max()) or 1.0
    across = min(shown, max(1, round(math.sqrt(shown * rows / columns * 1.6))))
    down = -(-shown // across)
    sheet = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), 2 * _LEVELS + 1, np.uint8)
    for i in range(shown):
        y, x = i // across * (rows + 1), i % across * (columns + 1)
        scaled = np.nan_to_num(tiles[i] / largest, nan=0, posinf=1, neginf=-1)
        sheet[y : y + rows, x : x + columns] = np.rint(scaled * _LEVELS) + _LEVELS
    of = f"{shown} of {len(tiles)} " if shown < len(tiles) else f"{len(tiles)} " if len(tiles) > 1 else ""
    note = f"{of}{what if len(tiles) > 1 else 'all elements'}, {rows}×{columns}"
    return {"png": _png(sheet), "width": sheet.shape[1], "height": sheet.shape[0], "scale": repr(largest), "note": note}


def _tiles(array: Array) -> tuple[Array, str]:
    """An array as images: rows or columns of square many numbers, maps of convolutions, or all of it as one."""
    if array.ndim >= 3:
        return array.reshape(-1, *array.shape[-2:]), "maps"
    sheet = array.reshape(1, -1) if array.ndim < 2 else array
    sides = [math.isqrt(n) if n >= 64 and math.isqrt(n) ** 2 == n else 0 for n in sheet.shape]
    if max(sides) == 0:
        return sheet[None], "rows"
    axis = 1 if sides[1] >= sides[0] else 0
    rows = sheet if axis else sheet.T
    return rows.reshape(-1, sides[axis], sides[axis]), "rows" if axis else "columns"


def _png(levels: Array) -> str:
    """A picture of levels as a data URL: blue below zero, vermilion above, both ever less transparent."""
    from PIL import Image

    palette: list[int] = []
    opacity: list[int] = []
    for level in range(-_LEVELS, _LEVELS + 1):
        palette += NEGATIVE if level < 0 else POSITIVE
        opacity.append(round(255 * abs(level) / _LEVELS))
    picture = Image.frombytes("P", levels.shape[::-1], levels.tobytes())
    picture.putpalette([*palette, 128, 128, 128])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=bytes([*opacity, 70]), optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
