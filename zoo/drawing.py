"""Find the drawing on a picture: which pixels are ink, and which are paper, shadow, table, line or speck.

Paper is a smooth surface through most of the pixels; ink is what differs from it, in whatever colour. The largest piece
of ink is the drawing, with those near enough to belong to it; what runs along the border or from one side to the other
is not part of it.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple, Self

import numpy as np

from tinygrad_mnist.tensor import Array

LEVELS = (0.25, 0.4, 0.55, 0.15, 0.08, 0.04)
"""Where ink begins, in shares of the largest difference from the paper, in the order in which they are tried. The
higher ones part a digit from the lines of ruled paper; the lower ones find pencil beside a dark table."""


SMALLEST = 4000
"""A piece of less than the picture's pixels divided by this is a speck, or noise."""


SMALL = 56 * 56
"""A picture of no more pixels is no photograph: it keeps thick strokes and soft borders, as those of MNIST."""


class Drawing(NamedTuple):
    """Ink, from 0 to 1 in every pixel of the picture; its box; and whether there seem to be several digits."""

    ink: Array
    piece: Piece
    several: bool


class Piece(NamedTuple):
    """Pixels that hang together, and the box around them: below `bottom` and right of `right` there are none."""

    mask: Array
    area: int
    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, mask: Array) -> Self:
        """The piece with these pixels."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        return cls(mask, int(mask.sum()), int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.right - self.left

    @property
    def extent(self) -> int:
        """The longer side of the box."""
        return max(self.height, self.width)


def find(values: Array) -> Drawing:
    """Find the drawing on a picture of about 112 x 112 pixels: rows, columns and colours.

    Raises:
        ValueError: there is none.
    """
    difference = values - _plane(values)
    difference = _without_lines(_without_lines(difference).swapaxes(0, 1)).swapaxes(0, 1)
    size = np.sqrt((difference**2).mean(-1))
    piece, several = _drawing(size)
    if (drawing := _on_a_sheet(values, piece)) is not None:
        return drawing
    direction = difference[piece.mask].mean(0)
    strength = difference @ (direction / np.sqrt(direction @ direction))
    local = _above_surroundings(strength) if strength.size > SMALL else strength
    with contextlib.suppress(ValueError):
        again, several_again = _drawing(local)
        if again.extent >= 0.6 * piece.extent:
            return Drawing(_ink(local, again), again, several_again)
    return Drawing(_ink(strength, piece), piece, several)


def _above_surroundings(strength: Array) -> Array:
    """How far strokes differ from the paper next to them, in light or shadow: what is wide is taken off."""
    stroke = max(1, round(0.12 * np.sqrt(strength.size)))
    local = strength - grown(-grown(-strength, stroke), stroke)
    return np.asarray(local - np.median(local))


def _on_a_sheet(values: Array, sheet: Piece) -> Drawing | None:
    """The drawing on a sheet of paper that is itself seen as a piece, as most of the picture is table."""
    rim = 1 + min(sheet.height, sheet.width) // 16
    inside = slice(sheet.top + rim, sheet.bottom - rim), slice(sheet.left + rim, sheet.right - rim)
    within = sheet.mask[inside]
    if min(within.shape) < 16 or np.concatenate([within[0], within[-1], within[:, 0], within[:, -1]]).mean() < 0.85:
        return None  # no digit fills the sides of its box
    try:
        drawing = find(values[inside])
    except ValueError:
        return None
    if drawing.piece.extent < 0.3 * sheet.extent:
        return None
    ink, mask = np.zeros(values.shape[:2]), np.zeros(values.shape[:2], bool)
    ink[inside], mask[inside] = drawing.ink, drawing.piece.mask
    return Drawing(ink, Piece.of(mask), drawing.several)


def _ink(strength: Array, piece: Piece) -> Array:
    """How dark each pixel of the piece is, and of its rim, from 0 to 1."""
    if strength.size <= SMALL:
        ink = strength / strength[piece.mask].max()
    else:
        ink = (strength / np.quantile(strength[piece.mask], 0.9) - 0.33) / 0.33
    return np.where(grown(piece.mask, 2) & (strength >= _limit(strength) / 2), np.clip(ink, 0, 1), 0)


def _limit(size: Array) -> float:
    """What noise does not exceed: 4.5 sigma, by what the quietest 20 % of the pixels say of it."""
    return max(4.5 * float(np.quantile(np.abs(size), 0.2)) / 0.253, 1e-6 * float(np.abs(size).max()), 1e-9)


def _plane(values: Array) -> Array:
    """What the picture would be without a drawing: the plane nearest to most of its pixels.

    It does not follow what covers less than about a half. The border counts less: there may be a frame, or a table.
    """
    height, width, _ = values.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    plane = np.stack([np.ones_like(x), x, y], -1)
    middle = 1 - 0.6 * np.maximum(abs(x), abs(y))
    step = 1 + len(x) // 60  # every second pixel does
    basis, sample = plane[::step, ::step].reshape(-1, 3), values[::step, ::step].reshape(-1, values.shape[-1])
    nearness = middle[::step, ::step].reshape(-1, 1)
    weights = nearness
    for _ in range(15):
        coefficients = np.linalg.lstsq((weights * basis).T @ basis, (weights * basis).T @ sample)[0]
        away = np.sqrt(((sample - basis @ coefficients) ** 2).sum(-1, keepdims=True))
        weights = nearness / np.maximum(away, 1e-3 * away.max() + 1e-9)
    return np.asarray(plane @ coefficients)


def _without_lines(difference: Array) -> Array:
    """Without the thin lines that run from the left side to the right, level or nearly so, as on ruled paper.

    They are seen where the sides match, moved up or down a little; what a line covers is bridged from above to below.
    """
    height, width, _ = difference.shape
    side = max(1, width // 16)
    left, right = np.median(difference[:, :side], 1), np.median(difference[:, -side:], 1)
    moves = sorted(range(-(width // 10), width // 10 + 1), key=abs)
    move = max(moves, key=lambda move: _both(left, np.roll(right, -move, 0)).sum())
    both = _both(left, np.roll(right, -move, 0))
    least = max(_limit(difference), 0.3 * both.max(), LEVELS[0] * np.sqrt((difference**2).mean(-1).max()))
    edges = np.flatnonzero(np.diff(np.pad(both > least, 1).astype(np.int8)))
    result, columns = difference.copy(), np.arange(width)
    shift = np.rint(move * (columns - side // 2) / max(1, width - side)).astype(int)
    for start, end in edges.reshape(-1, 2):
        if end - start <= height / 16:
            above, below = start - 2 + shift, end + 1 + shift
            first = result[np.where(above >= 0, above, below).clip(0, height - 1), columns]
            last = result[np.where(below < height, below, above).clip(0, height - 1), columns]
            for row in range(start - 1, end + 1):
                share = (row - start + 2) / (end - start + 3)
                there = (row + shift >= 0) & (row + shift < height)
                result[(row + shift)[there], columns[there]] = ((1 - share) * first + share * last)[there]
    return result


def _both(left: Array, right: Array) -> Array:
    """How far both differ from the paper, in one direction of colours."""
    sizes = np.sqrt(np.minimum((left**2).mean(-1), (right**2).mean(-1)))
    return np.where((left * right).sum(-1) > 0, sizes, 0)


def _drawing(size: Array) -> tuple[Piece, bool]:
    """The drawing in a picture of differences from the paper, and whether there is a second digit beside it."""
    limit = _limit(size)
    found: list[tuple[Piece, list[Piece]]] = []
    thresholds = dict.fromkeys(max(level * float(size.max()), limit) for level in LEVELS)
    for surroundings in (False, True):
        for threshold in thresholds:
            all_of_them = pieces(size > threshold)
            if not surroundings:
                all_of_them = [piece for piece in all_of_them if not _surrounds(piece)]
            if all_of_them:
                found.append((all_of_them[0], all_of_them))
        if found:
            largest = max(piece.extent for piece, _ in found)
            if surroundings or 16 * largest >= max(size.shape):
                break
    if not found:
        raise ValueError("there is nothing on this image; draw a digit that stands out from its paper")
    main, others = next(pair for pair in found if pair[0].extent >= 0.8 * largest)
    return _whole(main, [piece for piece in others if size[piece.mask].max() > 0.5 * size[main.mask].max()])


def _surrounds(piece: Piece) -> bool:
    """Whether a piece is no drawing, but what is around one: a frame, a table, a line across the paper."""
    height, width = piece.mask.shape
    across = piece.height == height or piece.width == width
    border = piece.mask[0].sum() + piece.mask[-1].sum() + piece.mask[:, 0].sum() + piece.mask[:, -1].sum()
    return bool(across or border > min(height, width) / 2)


def _whole(main: Piece, others: list[Piece]) -> tuple[Piece, bool]:
    """The largest piece with those that belong to it, such as the bar of a 5; and whether there is another."""
    others = [piece for piece in others if piece is not main and piece.area >= 0.04 * main.area]
    mask, several = main.mask.copy(), False
    reach = max(1, round(0.25 * main.extent))
    for piece in others:
        large = piece.area >= 0.2 * main.area
        if not (large and _second_digit(main, piece)) and (
            (grown(main.mask, reach) & piece.mask).any() or (large and _above_one_another(main, piece))
        ):
            mask |= piece.mask
        else:
            several |= large and min(main.height, piece.height) > 0.5 * max(main.height, piece.height)
    whole = Piece.of(mask)
    return whole, several or whole.width > 1.6 * whole.height


def _above_one_another(one: Piece, other: Piece) -> bool:
    """Whether two pieces overlap in the horizontal direction, and are not far below one another."""
    across, _ = _along(one.left, one.right, other.left, other.right)
    down, _ = _along(one.top, one.bottom, other.top, other.bottom)
    return across < 0 and down <= 0.4 * max(one.extent, other.extent)


def _second_digit(one: Piece, other: Piece) -> bool:
    """Whether two pieces are two digits, and not two strokes of one, such as the two of a 4 that do not touch.

    Two digits are about as tall as each other. Where they stand side by side there is paper between them, and together
    they are nearly as wide as tall; of a narrow one, which may be the bar of a 4, the gap has to be a wide one. Strokes
    that overlap in the horizontal direction belong to one digit, unless they are far below one another, or together
    taller than a digit is, which is less than two and a half times its width.
    """
    low, high = sorted([one.height, other.height])
    if low < 0.6 * high:
        return False
    across, width = _along(one.left, one.right, other.left, other.right)
    down, height = _along(one.top, one.bottom, other.top, other.bottom)
    narrow = min(one.width, other.width) < 0.3 * high
    beside = across > 0 and (across > 0.12 * high or (width > 0.9 * high and not narrow))
    below = down > 0.4 * high or (down > 0.1 * high and height > 2.5 * width)
    return beside or below


def _along(start: int, end: int, other_start: int, other_end: int) -> tuple[int, int]:
    """Of two boxes in one direction: the gap between them, negative if they overlap, and how far both reach."""
    return max(start, other_start) - min(end, other_end), max(end, other_end) - min(start, other_start)


def pieces(mask: Array) -> list[Piece]:
    """The pieces of a mask, whose pixels touch at sides or corners; of very many the twenty largest."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)  # runs of pixels, in the order in which mask[mask] has these
    ends = np.nonzero(edges == -1)[1]
    joined = list(range(len(rows)))

    def root(run: int) -> int:
        while joined[run] != run:
            joined[run] = run = joined[joined[run]]
        return run

    above, runs = 0, list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    for this, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < start):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] <= end:
            joined[root(other)] = root(this)
            other += 1
    roots = np.array([root(run) for run in range(len(runs))], dtype=np.intp)
    labels = np.full(mask.shape, -1)
    labels[mask] = np.repeat(roots, ends - starts)
    areas = np.bincount(roots, ends - starts)
    largest = np.argsort(-areas, kind="stable")[:20]
    return [Piece.of(labels == label) for label in largest if areas[label] >= max(1, mask.size / SMALLEST)]


def grown(mask: Array, by: int = 1) -> Array:
    """The mask with the pixels around it."""
    for _ in range(by):
        mask = _largest_near(mask)
    return mask


def _largest_near(values: Array) -> Array:
    """The largest of the nine values around each."""
    rows = values.copy()
    np.maximum(rows[1:], values[:-1], out=rows[1:])
    np.maximum(rows[:-1], values[1:], out=rows[:-1])
    result = rows.copy()
    np.maximum(result[:, 1:], rows[:, :-1], out=result[:, 1:])
    np.maximum(result[:, :-1], rows[:, 1:], out=result[:, :-1])
    return result
