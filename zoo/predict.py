"""Say which digit an image shows, with a trained network.

    python -m zoo.network2 --save model.npz
    python -m zoo.predict model.npz zoo/drawings/two.png
    python -m zoo.predict model.npz 0 1 2

A number is a test digit, by its index; all else an image file, PNG, JPEG, GIF, BMP, TIFF, WebP or PPM. It may be a
drawing or a photograph of one digit, of any size and in any colours, and is prepared as MNIST's digits were: what is
drawn is cut out, scaled into 20 of the 28 pixels, and placed with its centre of mass in the middle. `--draw` shows it.
An image that cannot be read is told, the others are answered, and the exit status is 1.
"""

import argparse
import functools
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import guarded, worded
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import CheckpointError

from .consistency import model_of
from .images import read_image
from .options import command_line
from .training import activations, settings_of
from .words import wrapped


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_line("zoo.predict", __doc__)
    result.add_argument("model", metavar="MODEL.npz", type=Path, help="what a network of the zoo saved with --save")
    result.add_argument("images", metavar="IMAGE", nargs="+", help="a file, or the index of a test digit, from 0")
    result.add_argument("--data", metavar="DIR", help="where the test digits are (default: where the model's data was)")
    result.add_argument("--network", metavar="FILE.py", help="where the model's network is, if that is not in zoo/")
    result.add_argument("--draw", action="store_true", help="draw each image as the network sees it")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""
    return guarded(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    checkpoint = train.load(options.model)
    if options.network is not None:
        imported(options.network)
    network, about = settings_of(checkpoint), checkpoint.settings["data"]
    shape = tuple(about["image_shape"])
    model = model_of(checkpoint, network)

    @functools.cache
    def test_images() -> mnist.Dataset:
        return mnist.load(options.data if options.data is not None else checkpoint.settings.get("source"))

    bad = 0
    for given in options.images:
        try:
            if given.isdecimal() and not os.path.exists(given):
                name = f"test image {given}"
                pixels, label = _test_image(test_images(), int(given), shape)
            else:
                name, label = given, None
                pixels = _read(given, shape)
        except (OSError, ValueError) as error:  # the others are answered all the same
            bad += 1
            print(f"error: {worded(error)}", file=sys.stderr)
            continue
        with np.errstate(all="ignore"):  # what overflows shows in the outputs
            outputs = activations(network, model, pixels[None])[0]
        if not np.isfinite(outputs).all():
            raise CheckpointError(
                f"{options.model}: its answers are not finite numbers; train anew, with a smaller --lr"
            )
        print(wrapped(f"{name}: {_answer(outputs, label)}"), flush=True)
        if options.draw:
            from tinygrad_mnist import visualize

            print(visualize.digit(pixels, shape, activations=outputs, label=label))
    return 1 if bad else 0


def _read(given: str, shape: tuple[int, int]) -> Array:
    """The image of a file; what is doubtful about it is told."""
    if os.path.exists(given) and not os.path.isfile(given):  # a pipe would be waited for
        raise OSError(f"{given}: not an image that can be read, but a directory or no file; name a PNG file")
    with warnings.catch_warnings(record=True, action="always") as doubts:
        pixels = read_image(given, shape)
    for doubt in doubts:
        print("warning:", " ".join(str(doubt.message).split()), file=sys.stderr)
    return pixels


def imported(file: str) -> ModuleType:
    """A Python file as a module, its directory among those that it imports from; a ValueError for another file."""
    path = os.path.abspath(file)
    spec = importlib.util.spec_from_file_location(f"network in {Path(file).name}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--network: expected a Python file, got {file}; name the one that defines the network")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    return module


def _test_image(data: mnist.Dataset, index: int, shape: tuple[int, int]) -> tuple[Array, int]:
    if data.test is None or index >= len(data.test):
        there = "no test images" if data.test is None else f"test images 0 to {len(data.test) - 1}"
        raise ValueError(f"test image {index}: there are {there} in {data.source}; name an image file, or --data DIR")
    if data.image_shape != shape:
        raise ValueError(
            f"test image {index}: has the shape {data.image_shape}, the model expects {shape}; name its --data"
        )
    return data.test.images[index], int(data.test.labels[index])


def _answer(outputs: Array, label: int | None) -> str:
    """The class, and the ten largest activations, which of sigmoid neurons do not add up to 1."""
    order = np.argsort(-outputs, kind="stable")[:10].tolist()
    verdict = "" if label is None else ", right" if label == order[0] else f", wrong: it is {label}"
    return f"{order[0]}{verdict}  (confidences: {', '.join(f'{i} {outputs[i]:.3f}' for i in order)})"


if __name__ == "__main__":
    sys.exit(main())
