"""What the networks' commands say: an epoch, a network, a data set in words."""

import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TextIO

from tinygrad_mnist import mnist
from tinygrad_mnist.command import columns
from tinygrad_mnist.train import Epoch

from .base import BaseNetwork

GROWN = 1e4
"""A cost that says that steps are too long: the quadratic cost of sigmoids is below 5, the others' begins below 10."""


def line(epoch: Epoch, epochs: int) -> str:
    """One line for an epoch; on a narrow terminal more, broken between what is told."""
    parts = [
        f"epoch {epoch.epoch:{len(str(epochs))}}/{epochs}",
        f"cost {epoch.cost:.4f}" if epoch.cost < GROWN else f"cost {epoch.cost:.4g}",
        f"validation {percent(epoch.validation)}",
        f"test {percent(epoch.test)}",
        f"lr {rate(epoch.lr)}",
        f"{epoch.seconds:.2f} s",
    ]
    if len(text := "  ".join(parts)) <= columns():
        return text
    return wrapped(" ".join(part.replace(" ", "\0") for part in parts)).replace("\0", " ")


def brief(epoch: Epoch) -> str:
    """The end of a training in half a line."""
    accuracies = f"validation {percent(epoch.validation)}  test {percent(epoch.test)}"
    return f"epoch {epoch.epoch}  cost {epoch.cost:.4g}  {accuracies}"


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """A text in lines as wide as the terminal; where there is none and no $COLUMNS, in one, for programs to read.

    A command in `backquotes` stays in one line, to be copied. `stream` is where it is written: None is sys.stdout.
    """
    if not ((stream or sys.stdout).isatty() or "COLUMNS" in os.environ):
        return text
    text = re.sub("`.*?`", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.fill(text, columns(), subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return lines.replace("\0", " ")


def counted(n: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "epoch"), counted(3126, "step")
    ('1 epoch', '3,126 steps')
    """
    return f"{n:,} {what}{'s' * (n != 1)}"


def percent(share: float | None) -> str:
    """A share as per cent; "none" where there was nothing to measure it on."""
    return "none" if share is None else f"{100 * share:.2f} %"


def rate(value: float) -> str:
    """A learning rate with four digits: 3.0, 0.375, 0.04688."""
    text = f"{value:.4g}"
    return text if "." in text or "e" in text else text + ".0"


def shown(value: Any) -> str:
    """A setting as it is given on the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def in_words(network: BaseNetwork) -> str:
    """The settings that make a network's training what it is, but for its epochs and its seed."""
    words = [
        f"{field.name.replace('_', '-')} {shown(getattr(network, field.name))}"
        for field in fields(network)
        if field.name not in ("epochs", "seed", "per_example") and getattr(network, field.name) not in (None, ())
    ]
    return ", ".join(words) + (", an update after every digit with η / m" if network.per_example else "")


def sizes(data: mnist.Dataset) -> str:
    """How many images there are of each kind, of which size, and from where."""
    test = f"{len(data.test):,} test" if data.test is not None else "no test"
    rows, columns = data.image_shape
    return (
        f"{len(data.train):,} training, {len(data.validation):,} validation and {test} images of {rows} x {columns} "
        f"in {data.n_classes} classes from {data.source}"
    )


def of_data(about: Mapping[str, Any]) -> str:
    """What distinguishes a data set, as a checkpoint keeps it."""
    return "{n} images of {image_shape[0]} x {image_shape[1]}, {n_classes} classes, checksum {checksum}".format(**about)


def grown(epoch: Epoch, network: BaseNetwork) -> str:
    """What is said of a cost as no network has that learns; nothing of others."""
    if epoch.cost < GROWN:
        return ""
    return f"the cost has grown to {epoch.cost:.3g}: steps are too long; remedy: {network.shorter_steps}"


def never_said(labels: Sequence[int], network: BaseNetwork, sigmoids: bool = True) -> str:
    """Why classes are hardly ever answered, and what to do about it; `sigmoids`: whether the outputs are such."""
    one = len(labels) == 1
    *others, last = map(str, labels)
    what = f"the network hardly ever answers {', '.join(others)}{' or ' if others else ''}{last}"
    if network.cost != "quadratic" or not sigmoids:
        return f"{what}; remedy: {network.shorter_steps}, or another --seed"
    remedy = "" if network.init == "scaled" else "--init scaled, which starts with N(0, 1/fan_in) weights, or "
    neurons, those = ("its output neuron is", "that digit's") if one else ("their output neurons are", "those digits'")
    return (
        f"{what}: {neurons} saturated (below 0.001 even for {those} images), where σ' is too small to learn; "
        f"remedy: {remedy}{network.shorter_steps}, or another --seed"
    )
