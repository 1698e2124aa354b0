"""The command lines of those who train networks of the zoo: which options there are, and a run as they ask for it.

An option that sets something of a network is there for the networks that have it: the fields of their classes say so.
What is not given on the command line is not in the result, so that a default, a recipe or a file can fill it in.
"""

import argparse
import ast
import contextlib
import os
import pkgutil
import re
import textwrap
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_mnist import mnist
from tinygrad_mnist.command import Parser, columns
from tinygrad_mnist.installation import told
from tinygrad_mnist.replay import BACKENDS

from .base import BaseNetwork, options_of, setting
from .limits import file_name, one_of, whole_number
from .names import HERE, command_of, network_class
from .words import shown

STOPPING = ("patience", "keep_best")
DATA, FILES = ("data", "train_size"), ("save", "resume", "history", "plot", "graph", "page")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a command that trains was asked for: the settings of the network that were given, and its other options."""

    given: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    backend: str | None = setting(
        None,
        "what the training step is compiled to (default: numpy, or that of --resume): c is faster, needs a C compiler "
        "and agrees within rounding; eager runs it op by op, with the same bits as numpy",
        one_of(BACKENDS),
    )
    patience: int | None = setting(
        None,
        "stop after N epochs without a better validation accuracy (default: never, or that of --resume)",
        whole_number(1),
        "N",
    )
    keep_best: bool = setting(
        False,
        "keep the weights of the epoch with the best validation accuracy: for predict, for what is drawn, and in the "
        "checkpoint beside the last ones, from which --resume goes on",
    )
    data: Path | None = setting(
        None,
        "a directory with data in MNIST's format, of any size and number of classes (default: $TINYGRAD_MNIST_DATA, or "
        "a checkout's data/, or ~/.cache/tinygrad_mnist)",
        file_name(),
        "DIR",
    )
    train_size: int | None = setting(None, "train on the first N digits only (default: all)", whole_number(1), "N")
    save: Path | None = setting(None, "a checkpoint (.npz), written after every epoch", file_name(), "FILE")
    resume: Path | None = setting(
        None,
        "continue from a checkpoint with its settings, bit for bit as if never stopped, and save to it; --epochs is "
        "then the total",
        file_name(),
        "FILE",
    )
    history: Path | None = setting(None, "settings and results of every epoch, as JSON", file_name(), "FILE.json")
    plot: Path | None = setting(
        None, "the learning curves; or .svg, .pdf", file_name(".png", ".svg", ".pdf"), "FILE.png"
    )
    graph: Path | None = setting(
        None,
        "the computation graph of one step of training, forward and backward; or .png, .pdf, .gv, .dot",
        file_name(".svg", ".png", ".pdf", ".gv", ".dot"),
        "FILE.svg",
    )
    page: Path | None = setting(
        None,
        "one step of training as a page for a browser, to walk through: forward, backward, update",
        file_name(".html", ".htm"),
        "FILE.html",
    )
    overwrite: bool = setting(False, "replace files that are there already, which a new run refuses to do")
    draw: int = setting(0, "draw N test digits at the end", whole_number(1), "N")
    draw_wrong: int = setting(0, "draw N test digits that it gets wrong", whole_number(1), "N")
    report: bool = setting(False, "at the end: confusion matrix, accuracy by class, and the worst mistakes drawn")
    quiet: bool = setting(False, "only the last epoch's line, and what else was asked for")
    seeds: Sequence[int] = (0,)  # of python -m zoo

    def network(self, kind: type[BaseNetwork], **more: Any) -> BaseNetwork:
        """A network with the settings that were given, and by the recipe."""
        return (kind.original if self.recipe == "original" else kind)(**self.given, **more)

    @property
    def written(self) -> list[Path]:
        """The files that it writes."""
        return [file for file in (self.checkpoint, self.history, self.plot, self.graph, self.page) if file]

    @property
    def checkpoint(self) -> Path | None:
        """The file that is written after every epoch: without --save, the one that is gone on with."""
        return self.save or self.resume


def load_data(path: Path | None, size: int | None) -> mnist.Dataset:
    """The data in a directory, None for the usual places, with the first `size` training images, None for all."""
    data = mnist.load(path)
    return data if size is None else data.head(size)


def flag(setting: str) -> str:
    """The option that gives a setting: lr_step -> --lr-step."""
    return f"--{setting.replace('_', '-')}"


def command_line(name: str, description: str | None, epilog: str | None = None) -> Parser:
    """An empty command line of `python -m NAME`."""
    return Parser(f"python -m {name}", description, epilog, [*commands()])


def commands() -> dict[str, str]:
    """The commands of the zoo, those of files of one's own included, each with the first sentence of what it does.

    Nothing is imported for that, as a file that is being written may not be ready for it.
    """
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        place = Path(getattr(module.module_finder, "path", ""), module.name)
        file = place / "__main__.py" if module.ispkg else place.with_suffix(".py")
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            text = file.read_text(encoding="utf-8")
            if re.search(r"^if __name__ == .__main__.:", text, re.MULTILINE) and module.name != "__main__":
                about = " ".join((ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].split())
                found[f"zoo.{module.name}"] = re.split(r"(?<=[.])\s", about)[0]
    return found


def listed(commands: Mapping[str, str]) -> str:
    """Commands, and what they do beside them, in lines that fit the terminal."""
    typed = {told(f"python -m {name}"): about for name, about in commands.items()}
    width = max(map(len, typed), default=0)
    return "\n".join(
        textwrap.fill(about, columns() - 2, initial_indent=f"{name:{width}}  ",
                      subsequent_indent=" " * (width + 2), break_on_hyphens=False)
        for name, about in typed.items()
    )  # fmt: skip


def add_backend(parser: argparse._ArgumentGroup) -> None:
    """Add --backend, or --eager."""
    one = parser.add_mutually_exclusive_group()
    add_options(one, Run, ["backend"])
    eager = "the same as --backend eager"
    one.add_argument("--eager", dest="backend", action="store_const", const="eager", default=None, help=eager)


def add_options(parser: argparse._ArgumentGroup, kind: type[Any], names: Container[str], told: bool = True) -> None:
    """Add an option for every setting that is in `names`; of a network, with its default, unless not to be told.

    Of what is no `Run` an option that is not given is not in the result either.
    """
    for name, option in options_of(kind).items():
        more: dict[str, Any] = {"dest": name, "default": option.default, "help": option.help.replace("%", "%%")}
        if not issubclass(kind, Run):
            more["default"] = argparse.SUPPRESS  # so that only what is given is there
            default = "" if option.default is None else shown(option.default)
            if name == "lr" and option.default is None and issubclass(kind, BaseNetwork):
                default = _rates(kind)
            more["help"] += f" (default: {default})" if told and default else ""
        if option.limit is None:
            more["action"] = "store_true"
        elif option.limit.choices:
            more["choices"] = option.limit.choices
        else:
            more |= {"type": option.limit, "metavar": option.metavar}
        if isinstance(option.default, tuple):
            more["nargs"] = "+"
        if name in names:
            parser.add_argument(*(each for each in (flag(name), option.book) if each), **more)


def _rates(kind: type[BaseNetwork]) -> str:
    """The learning rates of a network, which come with its costs; that of its own cost first."""
    own, rates = options_of(kind)["cost"].default, kind.RATES
    others = ", ".join(f"{cost} {rate:g}" for cost, rate in rates.items() if cost != own)
    first = [f"{rates[own]:g}"] * (own in rates)
    return "; ".join(first + [f"with --cost {others}"] * bool(others))


def add_recipe(parser: argparse._ArgumentGroup, original: str) -> None:
    """Add the choice between the zoo's defaults and the original ones."""
    parser.add_argument(
        "--recipe",
        choices=("zoo", "original"),
        help="the defaults to go by (default: zoo). original: those of the hand-coded networks this project began as "
        f"({original}), as they really computed: an update after every digit, with η / m",
    )


def parser_of(network: type[BaseNetwork], description: str) -> Parser:
    """The command line of one network."""
    parser = Parser(command_of(network), description, None, [*commands()])
    learning = parser.add_argument_group("the network and how it learns")
    add_options(learning, network, options_of(network))
    add_recipe(learning, ", ".join(f"{key.replace('_', '-')} {value}" for key, value in network.ORIGINAL.items()))
    add_options(learning, Run, STOPPING)
    add_backend(learning)
    add_options(parser.add_argument_group("data"), Run, DATA)
    add_options(parser.add_argument_group("files"), Run, [*FILES, "overwrite"])
    add_options(parser.add_argument_group("what is shown"), Run, ["report", "draw", "draw_wrong", "quiet"])
    return parser


def parse(parser: Parser, network: type[BaseNetwork], arguments: list[str] | None) -> Run:
    """What was asked for, with the settings of this network that were given. Wrong usage exits with 2."""
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.unrecognized(unknown, _elsewhere(unknown[0].partition("=")[0]))
    asked, settings = vars(namespace), options_of(network)
    given = {name: asked.pop(name) for name in settings if name in asked}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for name in given:
        if (other := settings[name].instead_of) and other in given:
            parser.error(f"{flag(other)} and {flag(name)} are two ways to say one thing; give one of them")
    files: dict[str, str] = {}
    for name in ("resume", *FILES):
        if (file := asked.get(name)) and (other := files.setdefault(os.path.realpath(file), name)) != name:
            if (other, name) != ("resume", "save"):
                parser.error(f"--{other} and --{name} are one file, {file}; name two")
            asked["save"] = None  # the file that is gone on with is saved to anyhow
    return Run(given=given, **asked)


def _elsewhere(option: str) -> str:
    """Which networks have an option that this one has not, in words."""
    having = []
    for module in pkgutil.iter_modules([str(HERE)]):
        if module.name.startswith("network"):
            with contextlib.suppress(Exception):  # of a file that is being written, and cannot be imported yet
                settings = options_of(network_class(module.name))
                if any(option in (flag(name), settings[name].book) for name in settings):
                    having.append(f"zoo.{module.name}")
    return f" ({option} is for {', '.join(having)})" if having else ""
