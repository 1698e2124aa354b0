"""Digits as printers set them, and what happens to them on photographs: `python -m tests.photographs MODEL.npz`.

Prints, for each way of spoiling a picture, how many of 50 digits are still the same to a network as on the clean one.
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tinygrad_mnist import train
from tinygrad_mnist.tensor import Array
from zoo.images import read_image
from zoo.training import activations, settings_of

FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "cmr10")
Spoil = Callable[[Array, np.random.Generator], Array]
"""From pixels of a picture, black on white, and a generator to other pixels."""


def rendered(text: str, font: str = "DejaVuSans", size: int = 200) -> Image.Image:
    """A text in the middle of a square, black on white."""
    picture = Image.new("L", (size, size), 255)
    face = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")), int(0.7 * size))
    left, top, right, bottom = face.getbbox(text)
    place = (size - left - right) / 2, (size - top - bottom) / 2
    ImageDraw.Draw(picture).text(place, text, fill=0, font=face)
    return picture


def digits(size: int) -> Iterator[Image.Image]:
    """Ten digits in five fonts."""
    for font, digit in itertools.product(FONTS, "0123456789"):
        yield rendered(digit, font, size)


def picture_of(pixels: Array) -> Image.Image:
    """The picture with these pixels."""
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _grey(pixels: Array) -> Array:
    return 80 + pixels * (120 / 255)


def _noise(sigma: float) -> Spoil:
    return lambda pixels, rng: _grey(pixels) + rng.normal(0, sigma, pixels.shape)


def _specks(pixels: Array, rng: np.random.Generator) -> Array:
    result = pixels.copy()
    for row, column in ((3, 4), (-9, 12), (6, -11)):
        result[row : row + 5, column : column + 5] = rng.integers(60, 180)
    return result


def _dark_corners(share: float) -> Spoil:
    def spoil(pixels: Array, rng: np.random.Generator) -> Array:
        y, x = np.mgrid[-1 : 1 : pixels.shape[0] * 1j, -1 : 1 : pixels.shape[1] * 1j]
        return np.asarray(pixels * (1 - share * (x * x + y * y) / 2))

    return spoil


def _salt_and_pepper(pixels: Array, rng: np.random.Generator) -> Array:
    chance = rng.random(pixels.shape)
    return np.where(chance < 0.02, rng.choice([0.0, 255.0], pixels.shape), _grey(pixels))


def _ruled(pixels: Array, rng: np.random.Generator) -> Array:
    result, size = pixels.copy(), len(pixels)
    for row in range(size // 16, size, size // 8):
        result[row : row + size // 200] = np.minimum(result[row : row + size // 200], 150)
    return result


def _framed(pixels: Array, rng: np.random.Generator) -> Array:
    result, width = pixels.copy(), len(pixels) // 14
    result[:width] = result[-width:] = result[:, :width] = result[:, -width:] = 30
    return result


def _table(pixels: Array, rng: np.random.Generator) -> Array:
    result, width = _grey(pixels), len(pixels) // 8
    result[-width:] = result[:, :width] = 40
    return np.asarray(result + rng.normal(0, 3, result.shape))


def _compressed(pixels: Array, rng: np.random.Generator) -> Array:
    file = io.BytesIO()
    picture_of(pixels).save(file, "JPEG", quality=15)
    return np.asarray(Image.open(file), float)


def _blurred(pixels: Array, rng: np.random.Generator) -> Array:
    return np.asarray(picture_of(pixels).filter(ImageFilter.GaussianBlur(len(pixels) * 0.005)), float)


def _coloured(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Spoil:
    def spoil(pixels: Array, rng: np.random.Generator) -> Array:
        share = pixels[..., None] / 255
        return np.asarray(np.array(ink) * (1 - share) + np.array(paper) * share + rng.normal(0, 3, (*pixels.shape, 3)))

    return spoil


SPOILT: dict[str, Spoil] = {
    "grey paper": lambda pixels, rng: _grey(pixels),
    "noise 5": _noise(5),
    "noise 8": _noise(8),
    "noise 12": _noise(12),
    "three specks": _specks,
    "corners darker by 30 %": _dark_corners(0.3),
    "corners darker by 60 %": _dark_corners(0.6),
    "light from one side": lambda pixels, rng: pixels * np.linspace(1, 0.5, len(pixels)),
    "salt and pepper": _salt_and_pepper,
    "ruled paper": _ruled,
    "a frame": _framed,
    "a table's edge": _table,
    "JPEG": _compressed,
    "blur": _blurred,
    "inverted": lambda pixels, rng: 255 - pixels,
    "pencil": lambda pixels, rng: 210 + pixels * (25 / 255) + rng.normal(0, 2, pixels.shape),
    "red on green of equal luminance": _coloured((200, 60, 60), (60, 139, 60)),
    "blue on yellow": _coloured((30, 30, 200), (240, 220, 60)),
}


def counts(answer: Callable[[Image.Image], int], size: int, names: Iterable[str], every: int = 1) -> dict[str, int]:
    """For each way of spoiling pictures, how many of the 50, or of every third, stay what they were."""
    clean = [
        (np.asarray(picture, float), answer(picture)) for picture in itertools.islice(digits(size), 0, None, every)
    ]
    result = {}
    for name in names:
        rng = np.random.default_rng(0)
        result[name] = sum(answer(picture_of(SPOILT[name](pixels, rng))) == said for pixels, said in clean)
    return result


def main(model: str) -> None:
    """Print the counts for a model that a network of the zoo saved."""
    checkpoint = train.load(model)
    network = settings_of(checkpoint)
    layers = network.model(784, 10, np.random.default_rng(0))
    checkpoint.restore(layers)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.bmp")

        def answer(picture: Image.Image) -> int:
            picture.save(file)
            return int(activations(network, layers, read_image(file)[None]).argmax())

        for size in (200, 800):
            for name, count in counts(answer, size, SPOILT).items():
                print(f"{size} x {size} pixels, {name}: {count} of 50")


if __name__ == "__main__":
    main(sys.argv[1])
