"""A digit as text, with what a network says of it."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .convert import in_one_line, is_whole
from .display import Text
from .tensor import Array, Tensor

_RAMPS = {"blocks": " ░▒▓█", "ascii": " .:-=+*#%@"}


def digit(
    pixels: Tensor | ArrayLike,
    shape: tuple[int, int] = (28, 28),
    *,
    style: str = "auto",
    activations: Tensor | ArrayLike | None = None,
    label: int | None = None,
) -> Text:
    """An image as lines of text, two pixels to a character; what the network said of it beside.

    Args:
        pixels: height x width numbers from 0 (empty) to 1 (ink), or integers from 0 to 255.
        shape: height and width.
        style: "ansi", half blocks in 24 greys, for terminals; "blocks", half blocks and four shades without colours;
            "ascii"; or "auto", the best that `sys.stdout` can show.
        activations: the network's outputs, one per class, drawn as bars from 0 to 1; the largest is what it says.
        label: the class that it is.

    Raises:
        ValueError: an unknown style, or the number of pixels does not fit the shape.
        TypeError: pixels or activations are no numbers.

    >>> print(digit([0, 0, 1, 1, 0, 0, 0, 1], (2, 4), style="ascii", activations=[0.25, 0.75], label=0))
      =@  0 #####                0.25 < is
          1 ###############      0.75 < says
    """
    image = _numbers("pixels", pixels)
    activations = None if activations is None else _numbers("activations", activations)
    if not isinstance(shape, tuple | list) or len(shape) != 2 or not all(is_whole(n, 1) for n in shape):
        raise ValueError(f"digit: expected the shape (height, width), got {in_one_line(shape)}")
    if image.size != shape[0] * shape[1]:
        raise ValueError(
            f"digit: {image.size} pixels do not make an image of shape {shape}; pass shape=(height, width)"
        )
    if activations is not None and np.size(activations) == 0:
        raise ValueError("digit: got no activations; pass one for each class, or None")
    image = np.clip(np.nan_to_num(image / (255 if image.dtype.kind in "iu" and image.max(initial=0) > 1 else 1)), 0, 1)
    image = np.pad(image.reshape(shape), [(0, shape[0] % 2), (0, 0)])
    style = _best_style() if style == "auto" else style
    if style not in ("ansi", *_RAMPS):
        raise ValueError(f"digit: expected style 'auto', 'ansi', 'blocks' or 'ascii', got {style!r}")
    rows = [_row(top, bottom, style) for top, bottom in zip(image[::2], image[1::2], strict=True)]
    beside = _bars(np.asarray(activations, dtype=float).ravel(), label, style) if activations is not None else []
    if activations is None and label is not None:
        beside = [f"{label}"]
    blank = " " * shape[1]
    lines = max(len(rows), len(beside))
    rows += [blank] * (lines - len(rows))
    beside += [""] * (lines - len(beside))
    return Text("\n".join(f"{row}  {text}" if text else row for row, text in zip(rows, beside, strict=True)))


def _numbers(name: str, given: Any) -> Array:
    try:
        array = np.asarray(given.numpy() if isinstance(given, Tensor) else given)
    except ValueError:  # of lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"digit: {name}: expected an array of numbers, got {in_one_line(given)}")
    return array


def _best_style() -> str:
    """The style for standard output: escape sequences on terminals only, half blocks where its encoding has them."""
    try:
        "░▒▓█▀▄▏▎▍▌▋▊▉◂".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "ascii"
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
    return "blocks" if plain else "ansi"


def _row(top: Array, bottom: Array, style: str) -> str:
    """Two rows of pixels as one line of text."""
    if style == "ansi":
        greys = [(232 + round(float(a) * 23), 232 + round(float(b) * 23)) for a, b in zip(top, bottom, strict=True)]
        return "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in greys) + "\x1b[0m"
    ramp = _RAMPS[style]
    row = [ramp[round(float(a + b) / 2 * (len(ramp) - 1))] for a, b in zip(top, bottom, strict=True)]
    if style == "blocks":  # where the halves differ much, the edge says more than their mean
        row = ["▀" if d > 0.5 else "▄" if d < -0.5 else c for c, d in zip(row, top - bottom, strict=True)]
    return "".join(row)


def _bars(activations: Array, label: int | None, style: str) -> list[str]:
    """One line per class: its number, a bar, the activation, and whether the network says so and it is so."""
    width = 20
    parts, arrow = ("#", "<") if style == "ascii" else (" ▏▎▍▌▋▊▉█", "◂")
    finest = max(len(parts) - 1, 1)
    said = int(np.argmax(activations))
    lines = []
    for i, value in enumerate(activations.tolist()):
        full, rest = divmod(round(min(max(value, 0), 1) * width * finest) if value == value else 0, finest)
        bar = parts[-1] * full + (parts[rest] if rest else "")
        verdict = " and ".join(["says"] * (i == said) + ["is"] * (label is not None and i == label))
        line = f"{i:{len(str(len(activations) - 1))}} {bar:{width}} {value:.2f}"
        lines.append(f"{line} {arrow} {verdict}" if verdict else line)
    return lines
