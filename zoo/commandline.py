"""What the networks' commands do: train, say how it goes, and lose nothing. The options are in `options.py`.

Exit status: 0; 1 for what went wrong, with one line on stderr; 2 for wrong usage; 130 for Ctrl-C.
"""

import argparse
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from tinygrad_mnist import mnist, train
from tinygrad_mnist.files import whole
from tinygrad_mnist.train import CheckpointError, Epoch

from . import options as commands
from .network import Network
from .training import Training, describe, network_name, settings_of


def main(network: type[Network], arguments: list[str] | None = None) -> int:
    """Run the command of one network; return its exit status. Wrong usage exits with 2."""

    def command() -> int:
        parser = commands.parser_of(network, network_name(network), sys.modules[network.__module__].__doc__ or "")
        return _run(network, *commands.parse(parser, arguments))

    return guarded(command)


def guarded(command: Callable[[], int]) -> int:
    """Run a command, and turn what went wrong into a line on stderr and an exit status."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (None, where the caller closed it)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without η shows ? for it
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read our output, as `head` does, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ArithmeticError, RuntimeError, ImportError, MemoryError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print("error:", " ".join(text.split()), file=sys.stderr)
        return 1


def _run(network: type[Network], options: argparse.Namespace, given: dict[str, Any]) -> int:
    for file in (options.save, options.history, options.plot, options.graph):
        refuse_unwritable(file)
    training = _resumed(network, options, given) if options.resume else _started(network, options, given)
    if not options.quiet:
        _introduce(training, options)
    if options.graph:
        from . import pictures

        print(f"{pictures.graph(training, options.graph)}: the computation graph of one step")
    status = _train(training, options)
    if status:
        return status
    if options.quiet and training.history:
        print(line(training.history[-1], training.network.epochs))
    for lost in training.lost_classes():
        print(never_said(lost, training.network))
    if options.plot and training.history:
        from . import pictures

        pictures.plot(training, options.plot)
        print(f"{options.plot}: the learning curves")
    if options.draw or options.draw_wrong:
        from . import pictures

        pictures.draw(training, options.draw, options.draw_wrong)
    return 0


def refuse_unwritable(file: Path | None) -> None:
    """Raise now what writing a file would raise after half an hour."""
    if file is None:
        return
    directory = Path(os.path.realpath(file)).parent
    if file.is_dir() or not directory.is_dir() or not os.access(directory, os.W_OK):
        why = "is a directory" if file.is_dir() else f"{directory} is not a directory that can be written to"
        raise OSError(f"{file}: {why}; name another file")


def load(path: str | None, size: int | None) -> mnist.Dataset:
    """The data in a directory, None for the usual places, with the first `size` training images, None for all."""
    data = mnist.load(path)
    return data if size is None else data.head(size)


def _started(network: type[Network], options: argparse.Namespace, given: dict[str, Any]) -> Training:
    """A new network."""
    make = network.original if options.recipe == "original" else network
    return Training(make(**given), load(options.data, options.train_size), _absolute(options.data))


def _absolute(path: str | None) -> str | None:
    """A path that holds in other directories too."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def _resumed(network: type[Network], options: argparse.Namespace, given: dict[str, Any]) -> Training:
    """The network of a checkpoint, where it was."""
    file = options.resume
    checkpoint = train.load(file)
    saved, name = settings_of(checkpoint), network_name(network)
    if network_name(saved) != name:
        raise CheckpointError(
            f"{file}: was saved by zoo.{network_name(saved)}, not zoo.{name}; `{_go_on(saved, file)}` goes on with it"
        )
    if options.recipe is not None and (options.recipe == "original") != saved.per_example:
        raise CheckpointError(f"{file}: was not trained with --recipe {options.recipe}; leave it out, or train anew")
    for setting, value in given.items():
        if setting != "epochs" and value != getattr(saved, setting):
            option = f"--{setting.replace('_', '-')}"
            was = getattr(saved, setting)
            raise CheckpointError(
                f"{file}: was trained with {option} {shown(was)}, not {shown(value)}; leave {option} out, or train anew"
            )
    options.save = options.save or file
    refuse_unwritable(options.save)
    source = _absolute(options.data) or checkpoint.settings.get("source")
    data = mnist.load(source)
    size = min(options.train_size or checkpoint.settings["data"]["n"], len(data.train))
    saved = replace(saved, epochs=given.get("epochs", saved.epochs))
    return Training.resume(checkpoint, saved, data.head(size), source)


def _train(training: Training, options: argparse.Namespace) -> int:
    """Train to the end, saving after every epoch; 130 after Ctrl-C."""
    epochs = training.network.epochs
    file, saved = options.resume or options.save, len(training.history)  # the checkpoint to go on with, if need be
    if options.history:
        write_history(training, options.history)
    try:
        for epoch in training.fit(progress_bar(options.quiet), compiled=not options.eager):
            if options.save:
                training.save(options.save)
                file, saved = options.save, epoch.epoch
            if options.history:
                write_history(training, options.history)
            if not options.quiet:
                print(line(epoch, epochs), flush=True)
    except train.DivergedError as error:
        raise train.DivergedError(f"{error}; {_saved(file, saved, training)}") from None
    except KeyboardInterrupt:
        doing = min(len(training.history) + 1, epochs)
        print(f"interrupted in epoch {doing} of {epochs}; {_saved(file, saved, training)}", file=sys.stderr)
        return 130
    return 0


def _saved(file: Path | None, epochs: int, training: Training) -> str:
    """What is in the checkpoint, and how to go on with it."""
    if file is None:
        return "nothing was saved: --save FILE would have kept every finished epoch"
    if epochs == 0:
        return f"nothing was saved in {file}: no epoch was finished"
    done = "the first epoch" if epochs == 1 else f"the first {epochs} epochs"
    return f"{file} holds {done}; `{_go_on(training.network, file)}` goes on"


def _go_on(network: Network, file: Path) -> str:
    return f"python -m zoo.{network_name(network)} --resume {shlex.quote(str(file))}"


def progress_bar(quiet: bool) -> Callable[..., Iterable[Any]] | None:
    """What shows how far an epoch is: tqdm, and only on a terminal."""
    if quiet or not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return functools.partial(tqdm, leave=False, unit=" steps", dynamic_ncols=True)


# ----------------------------------------------------------------------------------------------------------------------
# In words


def line(epoch: Epoch, epochs: int) -> str:
    """One line for an epoch."""
    number = f"epoch {epoch.epoch:{len(str(epochs))}}/{epochs}"
    accuracies = f"validation {percent(epoch.validation)}  test {percent(epoch.test)}"
    cost = f"{epoch.cost:.4f}" if epoch.cost < 1e4 else f"{epoch.cost:.4g}"
    return f"{number}  cost {cost}  {accuracies}  lr {rate(epoch.lr)}  {epoch.seconds:.2f} s"


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


def in_words(network: Network) -> str:
    """The settings that make a network's training what it is, but for its epochs and its seed."""
    words = [
        f"{field.name.replace('_', '-')} {shown(getattr(network, field.name))}"
        for field in fields(network)
        if field.name not in ("epochs", "seed", "per_example") and getattr(network, field.name) is not None
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


def _introduce(training: Training, options: argparse.Namespace) -> None:
    network, data, done = training.network, training.data, len(training.history)
    print(f"{network_name(network)}: {in_words(network)}, seed {network.seed}")
    print(sizes(data))
    if data.test is None:
        print("there are no test files (t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte): the test column says none")
    if done >= network.epochs and options.resume:
        print(f"{options.resume}: has {done} epochs behind it already; --epochs N trains on, to N in all")
    elif done:
        print(f"{options.resume}: goes on after epoch {done}")
    sys.stdout.flush()


def never_said(label: int, network: Network) -> str:
    """Why a class is never said, and what to do about it."""
    if network.cost != "quadratic":
        return f"class {label} is never said; remedy: a smaller --lr, or another --seed"
    remedy = "a smaller --lr" if network.init == "scaled" else "--init scaled, which starts with N(0, 1/fan_in) weights"
    return (
        f"class {label} is never said: its output neuron is saturated, below 0.001 for its own images too, where σ' is "
        f"so small that it hardly learns; remedy: {remedy}, or another --seed"
    )


def write_history(training: Training, file: Path) -> None:
    """Write settings and results of every epoch as JSON, whole or not at all."""
    record = {
        "network": network_name(training.network),
        "settings": asdict(training.network),
        "data": describe(training.data),
        "epochs": [asdict(epoch) for epoch in training.history],
    }
    with whole(file) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
