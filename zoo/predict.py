"""Say which digit an image shows, with a trained network.

    python -m zoo.network2 --save model.npz
    python -m zoo.predict model.npz seven.png photo.jpg     images: PNG, JPEG
    python -m zoo.predict model.npz 0 1 2                   test digits, by their index

An image may be a drawing of any size, dark on light or light on dark. It is prepared as MNIST's digits were: what is
drawn is cut out, scaled into 20 of the 28 pixels, and placed with its centre of mass in the middle. `--draw` shows it.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import guarded
from tinygrad_mnist.tensor import Array

from .training import activations, settings_of

if TYPE_CHECKING:
    from PIL import Image

FAINT = 0.1
"""Where no pixel has more ink than this, in shares of the darkest, the drawing ends."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m zoo.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("model", metavar="MODEL.npz", type=Path, help="what a network of the zoo saved with --save")
    result.add_argument("images", metavar="IMAGE", nargs="+", help="a file, or the index of a test digit, from 0")
    result.add_argument("--data", metavar="DIR", help="where the test digits are (default: where the model's data was)")
    result.add_argument("--draw", action="store_true", help="draw each image as the network sees it")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""
    return guarded(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    checkpoint = train.load(options.model)
    network, about = settings_of(checkpoint), checkpoint.settings["data"]
    shape, n_classes = tuple(about["image_shape"]), about["n_classes"]
    model = network.model(shape[0] * shape[1], n_classes, np.random.default_rng(0))
    checkpoint.restore(model)
    data: mnist.Dataset | None = None
    for given in options.images:
        label: int | None = None
        if given.isdecimal() and not os.path.exists(given):
            if data is None:
                data = mnist.load(options.data if options.data is not None else checkpoint.settings.get("source"))
            pixels, label = _test_image(data, int(given), shape)
            name = f"test image {given}"
        else:
            pixels, name = read_image(given, shape), given
        outputs = activations(network, model, pixels[None])[0]
        print(f"{name}: {_in_words(outputs, label)}")
        if options.draw:
            from tinygrad_mnist import visualize

            print(visualize.digit(pixels, shape, activations=outputs, label=label))
    return 0


def _test_image(data: mnist.Dataset, index: int, shape: tuple[int, int]) -> tuple[Array, int]:
    if data.test is None or index >= len(data.test):
        there = "no test images" if data.test is None else f"test images 0 to {len(data.test) - 1}"
        raise ValueError(f"test image {index}: there are {there} in {data.source}; name an image file, or --data DIR")
    if data.image_shape != shape:
        raise ValueError(
            f"test image {index}: has the shape {data.image_shape}, the model expects {shape}; name its --data"
        )
    return data.test.images[index], int(data.test.labels[index])


def _in_words(outputs: Array, label: int | None) -> str:
    """The class, and the ten largest activations, which of sigmoid neurons do not add up to 1."""
    order = np.argsort(-outputs, kind="stable")[:10].tolist()
    verdict = "" if label is None else ", right" if label == order[0] else f", wrong: it is {label}"
    return f"{order[0]}{verdict}  (confidences: {', '.join(f'{i} {outputs[i]:.3f}' for i in order)})"


# ----------------------------------------------------------------------------------------------------------------------
# From a picture to what the network was trained on


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


if __name__ == "__main__":
    sys.exit(main())
