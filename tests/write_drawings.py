"""Write zoo/drawings/*.png, the digits that README's line reads: `python -m tests.write_drawings`.

A pen follows a curve with a hand that shakes, faster in the middle of a stroke than at its ends, on paper with a grain,
lit from one side: a ballpoint pen, a pencil, and chalk on a board.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tinygrad_mnist.tensor import Array

DRAWINGS = Path(__file__).resolve().parent.parent / "zoo" / "drawings"
SIZE = 240
FINER = 3
"""Strokes are drawn this many times as large, and scaled down."""


class Sketch(NamedTuple):
    """Strokes as points from 0 to 1, right and down, which a pen goes through; its width; paper and ink as colours."""

    strokes: list[list[tuple[float, float]]]
    width: float
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    cover: float


SKETCHES = {
    "two": Sketch(
        [[(0.3, 0.36), (0.36, 0.24), (0.5, 0.19), (0.64, 0.27), (0.63, 0.42), (0.5, 0.58), (0.34, 0.75), (0.29, 0.8),
          (0.42, 0.79), (0.56, 0.8), (0.7, 0.77)]],
        13, (243, 240, 232), (28, 44, 128), 0.95,
    ),
    "five": Sketch(
        [[(0.4, 0.22), (0.38, 0.34), (0.36, 0.46), (0.5, 0.43), (0.63, 0.52), (0.65, 0.66), (0.55, 0.79), (0.42, 0.82),
          (0.32, 0.77)],
         [(0.4, 0.22), (0.5, 0.22), (0.66, 0.2)]],
        9, (226, 224, 220), (70, 70, 76), 0.75,
    ),
    "seven": Sketch(
        [[(0.3, 0.27), (0.42, 0.25), (0.56, 0.25), (0.68, 0.23), (0.6, 0.38), (0.51, 0.56), (0.46, 0.7), (0.43, 0.83)]],
        17, (52, 74, 66), (236, 236, 226), 0.85,
    ),
}  # fmt: skip


def drawn(sketch: Sketch, rng: np.random.Generator) -> Image.Image:
    """The sketch as a picture."""
    large = Image.new("L", (SIZE * FINER, SIZE * FINER), 0)
    pen = ImageDraw.Draw(large)
    for stroke in sketch.strokes:
        path = _curve(np.array(stroke) + rng.normal(0, 0.006, (len(stroke), 2)))
        shake = np.cumsum(rng.normal(0, 0.0006, path.shape), 0)
        pressure = 0.85 + 0.15 * np.cos(np.linspace(0, 2 * np.pi, len(path))) + rng.normal(0, 0.02, len(path))
        for (x, y), radius in zip(
            (path + shake) * SIZE * FINER, pressure * sketch.width * FINER * SIZE / 320 / 2, strict=True
        ):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    cover = np.asarray(large.resize((SIZE, SIZE), Image.Resampling.BOX)) / 255
    grain = rng.normal(0, 1, (SIZE, SIZE))
    cover = np.clip(cover * sketch.cover * (1 + 0.12 * grain), 0, 1)[..., None]
    light = np.linspace(1.0, 0.86, SIZE)[:, None, None] * np.linspace(0.97, 1.0, SIZE)[None, :, None]
    colours = np.array(sketch.paper) * (1 - cover) + np.array(sketch.ink) * cover
    return Image.fromarray(np.clip(colours * light + 2 * grain[..., None], 0, 255).astype(np.uint8))


def _curve(points: Array, n: int = 60) -> Array:
    """Catmull and Rom's curve through the points, with n steps from each to the next."""
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, n, endpoint=False)[:, None]
    parts = [
        ((2 * b) + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3) / 2
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False)
    ]
    return np.concatenate([*parts, points[-1:]])


def main() -> None:
    """Write them all, the same every time."""
    DRAWINGS.mkdir(exist_ok=True)
    for seed, (name, sketch) in enumerate(SKETCHES.items()):
        picture = drawn(sketch, np.random.default_rng(seed))
        picture.quantize(32, dither=Image.Dither.NONE).save(DRAWINGS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
