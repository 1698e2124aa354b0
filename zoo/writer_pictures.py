"""What the writer shows: digits side by side and where its heads look, as text and as PNG files."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist.digits import digit
from tinygrad_mnist.files import whole
from tinygrad_mnist.tensor import Array

from .patches import SIDE, grid_of


def in_rows(images: Array, shape: tuple[int, int], captions: Sequence[str]) -> str:
    """Images, shape (n, pixels), side by side as text, as many as the terminal is wide, with a caption over each."""
    a_row = max(1, (shutil.get_terminal_size().columns + 2) // (shape[1] + 2))
    lines = []
    for i in range(0, len(images), a_row):
        some = zip(images[i : i + a_row], captions[i : i + a_row], strict=True)
        columns = [[text[: shape[1]].ljust(shape[1]), *digit(image, shape).splitlines()] for image, text in some]
        lines += ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    return "\n".join(lines)


def grid(images: Array, shape: tuple[int, int], names: Sequence[str], title: str, file: Path) -> None:
    """Draw rows of images, shape (rows, columns, pixels), with a name for each row, as a PNG file."""
    rows, columns = images.shape[:2]
    apart = np.pad(images.reshape(rows, columns, *shape), [(0, 0), (0, 0), (2, 2), (2, 2)])
    height, width = apart.shape[2:]
    figure = _figure(0.55 * columns + 1.5, 0.55 * rows + 0.7)
    axes = figure.subplots()
    axes.imshow(apart.swapaxes(1, 2).reshape(rows * height, columns * width), cmap="gray_r", vmin=0, vmax=1)
    axes.set_yticks(np.arange(rows) * height + height / 2, names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    figure.suptitle(title, fontsize="medium")
    _save(figure, file)


def attention_as_text(maps: Array, patch: int, shape: tuple[int, int]) -> str:
    """Where each head looks as a patch is written: of maps (blocks, heads, 1 + patches), a line and a picture each."""
    rows, columns = grid_of(shape)
    blocks, heads, _ = maps.shape
    parts = []
    for block, head in itertools.product(range(blocks), range(heads)):
        most = np.argsort(-maps[block, head, : patch + 1], kind="stable")[:3]
        looks = ", ".join(f"{_place(at, columns)} {maps[block, head, at]:.0%}" for at in most.tolist())
        parts.append(f"block {block + 1}, head {head + 1}: {looks}")
    for block in range(blocks):
        pictures = np.stack([_map(weights, rows, columns) for weights in maps[block]])
        large = pictures.repeat(2, 1).repeat(2, 2)
        names = [f"{block + 1}.{head + 1}" for head in range(heads)]
        parts.append(in_rows(large.reshape(heads, -1), (2 * rows, 2 * columns), names))
    return "\n".join(parts)


def draw_attention(maps: Array, image: Array, patch: int, shape: tuple[int, int], title: str, file: Path) -> None:
    """Draw the same as a PNG file: the digit so far in grey, and in red where each head looks."""
    rows, columns = grid_of(shape)
    blocks, heads, _ = maps.shape
    so_far = np.arange(rows * columns).reshape(rows, columns).repeat(SIDE, 0).repeat(SIDE, 1) < patch
    figure = _figure(1.7 * heads + 0.3, 1.9 * blocks + 0.6)
    every = figure.subplots(blocks, heads, squeeze=False)
    for block, head in itertools.product(range(blocks), range(heads)):
        axes, weights = every[block][head], maps[block, head]
        axes.imshow(np.where(so_far, image.reshape(shape), 0.15), cmap="gray_r", vmin=0, vmax=1.6)
        large = _map(weights, rows, columns).repeat(SIDE, 0).repeat(SIDE, 1)
        axes.imshow(large, cmap="Reds", alpha=0.75 * large, vmin=0, vmax=1)
        top, left = (SIDE * side for side in divmod(patch, columns))
        axes.add_patch(_rectangle((left - 0.5, top - 0.5)))
        axes.set_title(f"block {block + 1}, head {head + 1}\nclass {weights[0]:.0%}", fontsize="small")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(title, fontsize="medium")
    _save(figure, file)


def _place(at: int, columns: int) -> str:
    """A place in words: the class is at place 0, and the patches follow."""
    return "class" if at == 0 else "row {}, column {}".format(*(side + 1 for side in divmod(at - 1, columns)))


def _map(weights: Array, rows: int, columns: int) -> Array:
    """The weights of the patches, as shares of the largest."""
    patches = weights[1:].reshape(rows, columns)
    return patches / max(float(patches.max()), 1e-9)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _rectangle(corner: tuple[float, float]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, SIDE, SIDE, fill=False, edgecolor="#0072B2", linewidth=1.5)


def _save(figure: Any, file: Path) -> None:
    with whole(file) as part:
        figure.savefig(part, dpi=120)
