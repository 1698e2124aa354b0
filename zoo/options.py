"""The command line that all networks of the zoo share: which options there are, and what they mean.

An option that sets something of the network is there for the networks that have it: the fields of the class say so.
What is not given on the command line is not in the result, so that a default, a recipe or a file can fill it in.
"""

import argparse
import math
import os
import re
from collections.abc import Callable, Container
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygrad_mnist.nn import INITIALIZERS

from .network import COSTS, Network
from .training import NAMES, network_class


def whole_number(low: int) -> Callable[[str], int]:
    """A whole number of at least `low`."""

    def parse(text: str) -> int:
        plain = text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+", text) else text  # 50,000 is one number
        if not plain.isdecimal() or int(plain) < low:
            several = "; separate several by spaces" if "," in text else ""
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {low}, got {text!r}{several}")
        return int(plain)

    return parse


def number(low: float, high: float = math.inf, open_low: bool = False) -> Callable[[str], float]:
    """A number from `low`, or above it if `open_low`, to below `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value if open_low else low <= value) or not value < high:
            limit = f"{'above' if open_low else 'of at least'} {low:g}"
            limit += f" and below {high:g}" if high < math.inf else " and finite" if value == high else ""
            raise argparse.ArgumentTypeError(f"expected a number {limit}, got {text!r}")
        return value

    return parse


def named(*suffixes: str) -> Callable[[str], Path]:
    """The name of a file of one of these kinds."""

    def parse(text: str) -> Path:
        if Path(text).suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"expected a file name that ends in {', '.join(suffixes)}, got {text!r}")
        return Path(text)

    return parse


# Of each setting: its metavar, its type or choices, and its help.
SETTINGS: dict[str, tuple[str | None, Any, str]] = {
    "epochs": (
        "N",
        whole_number(0),
        "how often to go through all training digits",
    ),
    "batch_size": ("M", whole_number(1), "digits in a mini-batch, the book's m"),
    "lr": ("ETA", number(0, open_low=True), "learning rate, the book's η (eta)"),
    "lr_step": ("N", whole_number(1), "lower the learning rate every N epochs"),
    "lr_gamma": ("FACTOR", number(0, open_low=True), "the factor it is then multiplied by; 1 keeps it constant"),
    "momentum": (
        "MU",
        number(0, 1),
        "how much of the velocity is left after a step, the book's μ (mu); steps add up to η / (1 - μ), so the larger "
        "it is, the smaller η should be",
    ),
    "lmbda": (
        "LAMBDA",
        number(0),
        "L2 regularization, the book's λ (lambda): weights decay by λ/n, n training digits",
    ),
    "weight_decay": ("DECAY", number(0), "the decay λ/n itself, in place of --lmbda"),
    "hidden": ("N", whole_number(1), "neurons in each hidden layer"),
    "init": (
        None,
        tuple(INITIALIZERS),
        "how weights start: normal is N(0, 1), chapter 1; scaled N(0, 1/fan_in), chapter 3; xavier and he as in "
        "Glorot and Bengio, 2010, and He et al., 2015",
    ),
    "cost": (None, tuple(COSTS), "chapter 1's, chapter 3's, or softmax outputs with chapter 3's log-likelihood cost"),
    "seed": ("N", whole_number(0), "of the first weights, and of the order of the digits"),
}


ALIASES = {"lr": ["--eta"], "momentum": ["--mu"], "lmbda": ["--lambda"]}
"""The book's names for them."""


def add_settings(
    parser: argparse._ArgumentGroup, network: type[Network], names: Container[str] = SETTINGS, defaults: bool = True
) -> None:
    """Add an option for every field of the network's class that is in `names`; tell the defaults, if asked to."""
    known = {field.name: field.default for field in fields(network)}
    for name, (metavar, kind, text) in SETTINGS.items():
        if name not in known or name not in names:
            continue
        if defaults and (default := _default(network, name, known[name])):
            text += f" (default: {default})"
        given: dict[str, Any] = {"choices": kind} if isinstance(kind, tuple) else {"type": kind, "metavar": metavar}
        if name == "hidden":
            given["nargs"] = "+"
        parser.add_argument(*_names(name), dest=name, default=argparse.SUPPRESS, help=text, **given)


def _names(setting: str) -> list[str]:
    """The options that give a setting."""
    return [f"--{setting.replace('_', '-')}", *ALIASES.get(setting, ())]


def _elsewhere(option: str) -> str:
    """Which networks have an option that this one has not, in words."""
    setting = next((name for name in SETTINGS if option.partition("=")[0] in _names(name)), None)
    having = [f"zoo.{name}" for name in NAMES if setting in [field.name for field in fields(network_class(name))]]
    return f" ({option} is for {', '.join(having)})" if having else ""


def _default(network: type[Network], name: str, default: Any) -> str:
    """The default of a setting as the help tells it; empty if there is none."""
    if name == "lr":
        others = ", ".join(f"{cost} {rate:g}" for cost, rate in network.RATES.items() if cost != "quadratic")
        return f"{network.RATES['quadratic']:g}; with --cost {others}"
    if default is None:
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def add_recipe(parser: argparse._ArgumentGroup, original: str) -> None:
    """Add the choice between the zoo's defaults and the original ones."""
    parser.add_argument(
        "--recipe",
        choices=("zoo", "original"),
        help="the defaults to go by (default: zoo). original: those of the hand-coded networks this project began as "
        f"({original}), as they really computed: an update after every digit, with η / m",
    )


def add_eager(parser: argparse._ArgumentGroup) -> None:
    """Add the choice of how a step is run."""
    parser.add_argument(
        "--eager", action="store_true", help="run every step op by op instead of compiled: the same bits, slower"
    )


def add_data(parser: argparse._ArgumentGroup) -> None:
    """Add what says which digits to train on."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a directory with data in MNIST's format, of any size and number of classes (default: "
        "$TINYGRAD_MNIST_DATA, or the repository's data/, or ~/.cache/tinygrad_mnist)",
    )
    parser.add_argument(
        "--train-size", metavar="N", type=whole_number(1), help="train on the first N digits only (default: all)"
    )


def parser_of(network: type[Network], name: str, description: str) -> argparse.ArgumentParser:
    """The command line of one network."""
    parser = argparse.ArgumentParser(
        prog=f"python -m zoo.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    learning = parser.add_argument_group("the network and how it learns")
    add_settings(learning, network)
    add_recipe(learning, ", ".join(f"{key.replace('_', '-')} {value}" for key, value in network.ORIGINAL.items()))
    add_eager(learning)
    add_data(parser.add_argument_group("data"))
    files = parser.add_argument_group("files")
    files.add_argument("--save", metavar="FILE", type=Path, help="a checkpoint (.npz), written after every epoch")
    files.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="continue from a checkpoint with its settings, bit for bit as if never stopped, and save to it; "
        "--epochs is then the total",
    )
    files.add_argument("--history", metavar="FILE.json", type=Path, help="settings and results of every epoch, as JSON")
    plot, graph = named(".png", ".svg", ".pdf"), named(".svg", ".png", ".pdf", ".gv", ".dot")
    files.add_argument("--plot", metavar="FILE.png", type=plot, help="the learning curves; or .svg, .pdf")
    files.add_argument(
        "--graph",
        metavar="FILE.svg",
        type=graph,
        help="the computation graph of one step of training, forward and backward; or .png, .pdf, .gv, .dot",
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--draw", metavar="N", type=whole_number(1), default=0, help="draw N test digits at the end")
    shown.add_argument(
        "--draw-wrong", metavar="N", type=whole_number(1), default=0, help="draw N test digits that it gets wrong"
    )
    shown.add_argument("--quiet", action="store_true", help="only the last epoch's line, and what else was asked for")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The options, and apart from them the settings that were given. Wrong usage exits with 2."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_elsewhere(unknown[0])}")
    given = {name: value for name, value in vars(options).items() if name in SETTINGS}
    if "hidden" in given:
        given["hidden"] = tuple(given["hidden"])
    files: dict[str, str] = {}
    for name in ("resume", "save", "history", "plot", "graph"):
        if (file := getattr(options, name, None)) is not None:
            other = files.setdefault(os.path.realpath(file), name)
            if other != name and (other, name) != ("resume", "save"):
                parser.error(f"--{other} and --{name} are one file, {file}; name two")
    if "lmbda" in given and "weight_decay" in given:
        parser.error("--lmbda and --weight-decay are two ways to say one thing; give one of them")
    return options, given
