"""The command lines of those who train networks of the zoo: which options there are, and a run as they ask for it.

An option that sets something of a network is there for the networks that have it: the fields of their classes say so.
What is not given on the command line is not in the result, so that a default, a recipe or a file can fill it in.
"""

import argparse
import contextlib
import os
import pkgutil
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zoo
from tinygrad_mnist import mnist

from .base import BaseNetwork
from .limits import file_name, whole_number
from .training import network_class, network_name
from .words import shown


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a command that trains was asked for; all but `given`, the settings of the network, are options' names."""

    given: Mapping[str, Any]
    recipe: str | None = None
    eager: bool = False
    data: str | None = None
    train_size: int | None = None
    resume: Path | None = None
    save: Path | None = None
    history: Path | None = None
    plot: Path | None = None
    graph: Path | None = None
    draw: int = 0
    draw_wrong: int = 0
    quiet: bool = False
    seeds: Sequence[int] = (0,)

    def network(self, kind: type[BaseNetwork], **more: Any) -> BaseNetwork:
        """A network with the settings that were given, and by the recipe."""
        return (kind.original if self.recipe == "original" else kind)(**self.given, **more)

    @property
    def checkpoint(self) -> Path | None:
        """The file that is written after every epoch: without --save, the one that is gone on with."""
        return self.save or self.resume


def load_data(path: str | None, size: int | None) -> mnist.Dataset:
    """The data in a directory, None for the usual places, with the first `size` training images, None for all."""
    data = mnist.load(path)
    return data if size is None else data.head(size)


def flag(setting: str) -> str:
    """The option that gives a setting: lr_step -> --lr-step."""
    return f"--{setting.replace('_', '-')}"


def command_line(name: str, description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """An empty command line of `python -m NAME`."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_settings(
    parser: argparse._ArgumentGroup, network: type[BaseNetwork], names: Container[str], defaults: bool = True
) -> None:
    """Add an option for every setting of a network that is in `names`; tell the defaults, if asked to."""
    for name, option in network.options().items():
        default = "" if option.default is None else shown(option.default)
        if name == "lr":
            others = ", ".join(f"{cost} {rate:g}" for cost, rate in network.RATES.items() if cost != "quadratic")
            default = f"{network.RATES['quadratic']:g}; with --cost {others}"
        text = option.help.replace("%", "%%") + (f" (default: {default})" if defaults and default else "")
        choices = option.limit.choices
        kind: dict[str, Any] = {"choices": choices} if choices else {"type": option.limit, "metavar": option.metavar}
        kind |= {"dest": name, "default": argparse.SUPPRESS, "help": text}  # so that only what is given is there
        if isinstance(option.default, tuple):
            kind["nargs"] = "+"
        if name in names:
            parser.add_argument(*(each for each in (flag(name), option.book) if each), **kind)


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


def parser_of(network: type[BaseNetwork], description: str) -> argparse.ArgumentParser:
    """The command line of one network."""
    parser = command_line(f"zoo.{network_name(network)}", description)
    learning = parser.add_argument_group("the network and how it learns")
    add_settings(learning, network, network.options())
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
    plot, graph = file_name(".png", ".svg", ".pdf"), file_name(".svg", ".png", ".pdf", ".gv", ".dot")
    files.add_argument("--plot", metavar="FILE.png", type=plot, help="the learning curves; or .svg, .pdf")
    files.add_argument(
        "--graph",
        metavar="FILE.svg",
        type=graph,
        help="the computation graph of one step of training, forward and backward; or .png, .pdf, .gv, .dot",
    )
    seen = parser.add_argument_group("what is shown")
    some: dict[str, Any] = {"metavar": "N", "type": whole_number(1), "default": 0}
    seen.add_argument("--draw", help="draw N test digits at the end", **some)
    seen.add_argument("--draw-wrong", help="draw N test digits that it gets wrong", **some)
    seen.add_argument("--quiet", action="store_true", help="only the last epoch's line, and what else was asked for")
    return parser


def parse(parser: argparse.ArgumentParser, network: type[BaseNetwork], arguments: list[str] | None) -> Run:
    """What was asked for, with the settings of this network that were given. Wrong usage exits with 2."""
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_elsewhere(unknown[0].partition('=')[0])}")
    asked, settings = vars(namespace), network.options()
    given = {name: asked.pop(name) for name in settings if name in asked}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for name in given:
        if (other := settings[name].instead_of) and other in given:
            parser.error(f"{flag(other)} and {flag(name)} are two ways to say one thing; give one of them")
    files: dict[str, str] = {}
    for name in ("resume", "save", "history", "plot", "graph"):
        if (file := asked.get(name)) and (other := files.setdefault(os.path.realpath(file), name)) != name:
            if (other, name) != ("resume", "save"):
                parser.error(f"--{other} and --{name} are one file, {file}; name two")
            asked["save"] = None  # the file that is gone on with is saved to anyhow
    return Run(given=given, **asked)


def _elsewhere(option: str) -> str:
    """Which networks have an option that this one has not, in words."""
    having = []
    for module in pkgutil.iter_modules(zoo.__path__):
        if module.name.startswith("network"):
            with contextlib.suppress(Exception):  # of a file that is being written, and cannot be imported yet
                settings = network_class(module.name).options()
                if any(option in (flag(name), settings[name].book) for name in settings):
                    having.append(f"zoo.{module.name}")
    return f" ({option} is for {', '.join(having)})" if having else ""
