"""A picture of a digit, prepared as MNIST's digits were: what the networks of the zoo were trained on.

What is drawn is cut out, scaled into 20 of the 28 pixels, and placed with its centre of mass in the middle.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_mnist.tensor import Array

if TYPE_CHECKING:
    from PIL import Image

FAINT = 0.1
"""Where no pixel has more ink than this, in shares of the darkest, the drawing ends."""


def read_image(path: str | os.PathLike[str], shape: tuple[int, int] = (28, 28)) -> Array:
    """Read an image file as pixels of this shape, flat, as the networks were trained on.

    Raises:
        OSError: the file is missing, or not an image that can be read.
        ValueError: there is nothing on it.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # of large ones Pillow warns
            image.load()
            upright = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such image; name a PNG or JPEG file, or the index of a test digit"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise OSError(f"{path}: not an image that can be read ({error}); name a PNG or JPEG file") from None
    try:
        return prepare(_ink(upright), shape).ravel()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _ink(image: Image.Image) -> Array:
    """How much each pixel differs from the paper, from 0 to 1; what differs no more than the paper itself is 0."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):  # 16 bits and more, in any range
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are not finite; save it with whole numbers")
    else:
        layers = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
        values = np.asarray(layers.convert("L"), dtype=np.float64)
        if layers.mode == "RGBA":
            opaque = np.asarray(layers.getchannel("A"), dtype=np.float64) / 255
            light = opaque.any() and np.average(values, weights=opaque) > 128
            values = values * opaque + (0 if light else 255) * (1 - opaque)  # light strokes are on black, dark on white
    ink = np.abs(values - _paper(values))
    noise = 3 * np.median(np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]))
    ink = np.where(ink <= max(noise, 1e-6), 0, ink)
    return ink / max(float(ink.max()), 1e-6)


def _paper(values: Array) -> Array:
    """What the picture would be without a drawing: a plane through its border, since light falls from one side."""
    height, width = values.shape
    y, x = np.mgrid[:height, :width]
    border = (y == 0) | (x == 0) | (y == height - 1) | (x == width - 1)
    away = np.abs(values[border] - np.median(values[border]))
    border[border] = away <= 3 * np.median(away)  # without strokes that touch the border
    plane = np.stack([np.ones(values.shape), x / width, y / height], -1)
    coefficients, *_ = np.linalg.lstsq(plane[border], values[border])
    return np.asarray(plane @ coefficients)


def prepare(ink: Array, shape: tuple[int, int] = (28, 28)) -> Array:
    """Cut out a drawing, scale it into 20/28 of the shape, and put its centre of mass in the middle, as MNIST does.

    A drawing that nearly has its size already, as a digit of MNIST does, is not scaled.

    Args:
        ink: a drawing of any size, 0 where there is none, up to 1.
        shape: rows and columns of the result, float32.

    Raises:
        ValueError: there is no ink.
    """
    from PIL import Image

    rows, columns = (np.flatnonzero((ink > FAINT).any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        raise ValueError("there is nothing on this image; draw a digit that stands out from its paper")
    drawing = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(max(1, round(side * 20 / 28)) / length for side, length in zip(shape, drawing.shape, strict=True))
    if not 0.95 < scale < 1.15:
        height, width = (max(1, round(length * scale)) for length in drawing.shape)
        picture = Image.fromarray(drawing.astype(np.float32))
        resized = picture.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
        drawing = np.asarray(resized) / np.asarray(resized).max()  # thin strokes pale when they are scaled down
    top, left = (_centred(drawing.sum(1 - axis), size) for axis, size in enumerate(shape))
    result = np.zeros(shape, np.float32)
    result[top : top + drawing.shape[0], left : left + drawing.shape[1]] = drawing
    return result


def _centred(mass: Array, size: int) -> int:
    """Where to begin so that the centre of mass comes to pixel size/2 (MNIST's is 14), with everything inside."""
    centre = np.average(np.arange(len(mass)), weights=mass)
    return int(np.clip(round(size / 2 - float(centre)), 0, size - len(mass)))
