"""A picture of a digit, prepared as MNIST's digits were: what the networks of the zoo were trained on.

A photograph is made small before anything else, which averages its noise and bounds the memory. What is drawn is looked
for, cut out, scaled into 20 of the 28 pixels, and placed with its centre of mass in the middle.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_mnist.command import near_file
from tinygrad_mnist.tensor import Array

from .drawing import Drawing, find

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Pictures of pixels, which Pillow decodes itself. Others are programs (EPS, which it has Ghostscript run) or pages."""

MEMORY = 280_000_000
"""How many bytes decoding may take: 70 million pixels of four bytes, which leaves room for 8,000 x 8,000."""

READ = 800 * 800
"""A picture of more pixels is read smaller."""

LOOKED_AT = 112 * 112
"""How many pixels are looked at for the drawing: 112 a side are four for each of MNIST's."""

FAINT = 0.1
"""Where no pixel has more ink than this, in shares of the darkest, the drawing ends."""


def read_image(path: str | os.PathLike[str], shape: tuple[int, int] = (28, 28)) -> Array:
    """Read an image file as pixels of this shape, flat, as the networks were trained on.

    Warns where there seem to be several digits; the pixels are those of the largest.

    Raises:
        OSError: the file is missing, or not an image that can be read.
        ValueError: there is nothing on it.
    """
    values = _values(path)
    try:
        pixels, several = read_pixels(values, shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if several:
        warnings.warn(f"{path}: there seem to be several digits, of which one was read; cut it out", stacklevel=2)
    return pixels


def read_pixels(values: Array, shape: tuple[int, int] = (28, 28)) -> tuple[Array, bool]:
    """Prepare a picture that is in memory already, as `read_image` does that of a file.

    Args:
        values: rows, columns and one or three colours, in any range.
        shape: rows and columns of the result.

    Returns:
        The pixels, flat, float32; and whether there seem to be several digits, of which the largest was read.

    Raises:
        ValueError: there is nothing on it.
    """
    drawing = _drawing(values)
    return prepare(drawing.ink, shape).ravel(), drawing.several


# --- From a file to numbers ---


def _values(path: str | os.PathLike[str]) -> Array:
    """The picture in a file, upright: rows, columns and one or three colours."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:  # it warns of size
            return _upright(_reduced(image), image.getexif().get(0x0112))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such image; name a PNG or JPEG file, or the index of a test digit{near_file(path)}"
        ) from None
    except Exception as error:  # plug-ins raise whatever went wrong in a broken file: KeyError, struct.error, ...
        what = str(error)
        if isinstance(error, Image.UnidentifiedImageError) and (kind := _other_format(path)):
            what = f"{kind} is none of {', '.join(FORMATS)}"
        elif isinstance(error, MemoryError):
            what = "it needs too much memory"
        what = " ".join(what.split())[:200]
        raise OSError(f"{path}: not an image that can be read ({what}); name a PNG or JPEG file") from None


def _other_format(path: str | os.PathLike[str]) -> str | None:
    """The format of a file that is none of `FORMATS`, by its first bytes, else by its name; None if that says nothing.

    The plug-ins see these bytes only.
    """
    from PIL import Image

    Image.init()
    with open(path, "rb") as file:
        start = file.read(16)
    for name, (_, accepts) in Image.OPEN.items() if len(start) == 16 else ():
        if name not in FORMATS and accepts is not None and accepts(start):
            return name
    suffix = Path(path).suffix[1:].upper()
    return suffix if start and suffix and f".{suffix.lower()}" not in _suffixes() else None


def _suffixes() -> set[str]:
    """The suffixes of the formats that are read."""
    from PIL import Image

    return {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}


def _reduced(image: Image.Image) -> Array:
    """The picture in at most about `READ` pixels, each the mean of a square; a strip at a time, to save memory."""
    if image.width * image.height * (each := _bytes_a_pixel(image)) > MEMORY:
        raise ValueError(
            f"{image.width} x {image.height} pixels, expected at most {MEMORY / each / 1e6:.0f} million; scale it down"
        )
    side = round(max(image.size) * (READ / (image.width * image.height)) ** 0.5)
    image.draft(None, (side, side))  # of a JPEG, decoded at a half, a quarter or an eighth; nothing for other formats
    image.load()
    width, height = image.size
    factor = next(n for n in itertools.count(1) if -(-width // n) * -(-height // n) <= READ)
    rows = max(1, 2**20 // (width * factor)) * factor
    strips = (image.crop((0, top, width, min(top + rows, height))) for top in range(0, height, rows))
    values = np.concatenate([_as_numbers(strip, factor) for strip in strips])
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are not finite; save it with whole numbers")
    return _on_paper(values) if values.shape[-1] == 4 else values


def _bytes_a_pixel(image: Image.Image) -> float:
    """What decoding takes, measured with Pillow 13 (peaks for 8,000 x 8,000 pixels)."""
    if image.format == "WEBP":
        return 17
    if image.format == "JPEG":
        return 7 if image.info.get("progressive") else 1  # all coefficients; else a line of blocks at a time
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        strip = min(1, tags.get(278, image.height) / image.height)  # what is compressed at once
        return 4 + 4 * strip + 4 * (tags.get(274, 1) != 1)  # turned upright, in a copy
    plain = [tile[0] for tile in getattr(image, "tile", [])] == ["ppm_plain"]  # numbers as text
    return 12 if plain else 4


def _as_numbers(strip: Image.Image, factor: int) -> Array:
    """The means of squares of a strip: grey, or three colours, or these times opacity, and opacity."""
    from PIL import Image

    if strip.mode in ("I", "F") or strip.mode.startswith("I;"):  # 16 bits and more, in any range
        plain = Image.fromarray(np.asarray(strip).astype(np.float32))
    elif strip.has_transparency_data:
        plain = strip.convert("RGBA").convert("RGBa")
    else:
        plain = strip.convert("L" if strip.mode in ("1", "L") else "RGB")
    values = np.asarray(plain.reduce(factor), dtype=np.float64)
    return values.reshape(*values.shape[:2], -1)


def _on_paper(values: Array) -> Array:
    """Colours where there was transparency: light strokes are put on black, dark ones on white."""
    colours, opacity = values[..., :3], values[..., 3:]
    light = colours.mean() > opacity.mean() / 2 > 0
    return colours + (0 if light else 1) * (255 - opacity)


def _upright(values: Array, orientation: int | None) -> Array:
    """The picture as the camera says that it was held: the eight orientations of EXIF."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


# --- From numbers to a digit ---


def _drawing(values: Array) -> Drawing:
    """The drawing, which is looked at more closely where it is small."""
    small = _looked_at(values)
    drawing = find(small)
    piece, scale = drawing.piece, len(values) / len(small)
    if scale > 1.2 and piece.extent < 0.4 * len(small):
        margin = piece.extent / 2 + 2
        top, bottom = (max(0, round(edge * scale)) for edge in (piece.top - margin, piece.bottom + margin))
        left, right = (max(0, round(edge * scale)) for edge in (piece.left - margin, piece.right + margin))
        with contextlib.suppress(ValueError):  # it was only seen from afar
            return drawing._replace(ink=find(_looked_at(values[top:bottom, left:right])).ink)
    return drawing


def _looked_at(values: Array) -> Array:
    """The picture in about `LOOKED_AT` pixels, if it has more."""
    from PIL import Image, ImageFilter

    height, width, _ = values.shape
    scale = (LOOKED_AT / (height * width)) ** 0.5
    if scale >= 1:
        return values
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    colours = []
    for colour in np.moveaxis(values.astype(np.float32), -1, 0):
        if 1 / 3 < scale < 2 / 3:  # each pixel within its neighbours, save two: a speck goes, a thin line stays
            picture = Image.fromarray(colour)
            low, high = (np.asarray(picture.filter(ImageFilter.RankFilter(3, rank))) for rank in (2, 6))
            colour = np.clip(colour, low, high)
        colours.append(np.asarray(Image.fromarray(colour).resize(shape[::-1], Image.Resampling.BOX)))
    return np.stack(colours, -1).astype(np.float64)


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
