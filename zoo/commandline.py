"""What the networks' commands do: train, say how it goes, and lose nothing. The options are in `options.py`.

Exit status: 0; 1 for what went wrong, with one line on stderr; 2 for wrong usage; 130 for Ctrl-C.
"""

import argparse
import functools
import importlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import guarded, uninterrupted
from tinygrad_mnist.files import whole
from tinygrad_mnist.train import CheckpointError

from . import options as commands
from .network import Network
from .training import Training, network_name, settings_of
from .words import in_words, line, never_said, shown, sizes


def main(network: type[Network], arguments: list[str] | None = None) -> int:
    """Run the command of one network; return its exit status. Wrong usage exits with 2."""

    def command() -> int:
        parser = commands.parser_of(network, network_name(network), sys.modules[network.__module__].__doc__ or "")
        return _run(network, *commands.parse(parser, arguments))

    return guarded(command)


def _run(network: type[Network], options: argparse.Namespace, given: dict[str, Any]) -> int:
    for file in (options.save, options.history, options.plot, options.graph):
        refuse_unwritable(file)
        if file != options.resume:
            refuse_to_lose(file)
    if options.save != options.resume:
        refuse_to_replace(options.save, network_name(network))
    for module in ["matplotlib"] * bool(options.plot) + ["graphviz"] * bool(options.graph):
        require(module)
    training = _resumed(network, options, given) if options.resume else _started(network, options, given)
    if not options.quiet:
        _introduce(training, options)
    if options.graph:
        from . import pictures

        print(f"{pictures.graph(training, options.graph)}: the computation graph of one step")
    status = _train(training, options)
    if status:
        return status
    if not training.history and not options.quiet:
        print("no epoch was asked for: nothing is saved or plotted")
    if options.quiet and training.history:
        print(line(training.history[-1], training.network.epochs))
    if lost := training.lost_classes():
        print(never_said(lost, training.network))
    if options.plot and training.history:
        from . import pictures

        pictures.plot(training, options.plot)
        print(f"{options.plot}: the learning curves")
    if options.draw or options.draw_wrong:
        from . import pictures

        pictures.draw(training, options.draw, options.draw_wrong)
    return 0


def refuse_unwritable(file: Path | None, remedy: str = "name another file") -> None:
    """Raise now what writing a file would raise after half an hour."""
    if file is None:
        return
    directory = Path(os.path.realpath(file)).parent
    why = ""
    if file.exists() and not file.is_file():
        why = "is a directory" if file.is_dir() else "is not a file that can be replaced"
    elif not directory.is_dir() or not os.access(directory, os.W_OK):
        why = f"{directory} is not a directory that can be written to"
    elif len(os.fsencode(file.name)) > 255:
        why = "has too long a name"
    if why:
        raise OSError(f"{file}: {why}; {remedy}")


def require(module: str) -> Any:
    """Import a package; raise now if one is missing that is needed after the training."""
    logging.getLogger(module).setLevel(logging.ERROR)  # of a HOME that it cannot write to matplotlib says two lines
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"this Python has no {module}; use the one in .venv, or install what the project needs: pip install -e ."
        ) from None


def refuse_to_replace(file: Path | None, name: str) -> None:
    """Raise if a network's checkpoint would take the place of another network's, or of what is no checkpoint."""
    if file is None or not file.exists():
        return
    try:
        there = network_name(settings_of(train.load(file)))
    except (CheckpointError, OSError):
        raise CheckpointError(f"{file}: already exists and is not a checkpoint of the zoo; name another file") from None
    if there != name:
        raise CheckpointError(f"{file}: already exists and holds a zoo.{there}; name another file")


def refuse_to_lose(file: Path | None) -> None:
    """Raise if a new run would overwrite one that was interrupted."""
    if file is None or not file.exists():
        return
    try:
        checkpoint = train.load(file)
        saved = settings_of(checkpoint)
    except (CheckpointError, OSError):
        return
    if (done := len(checkpoint.history)) < saved.epochs:
        raise CheckpointError(
            f"{file}: holds {done} of {saved.epochs} epochs of {network_name(saved)}; `{_go_on(saved, file)}` "
            "goes on with them; to begin anew, remove it or name another file"
        )


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
    saved = replace(saved, epochs=given.get("epochs", saved.epochs))
    if options.save is None:
        options.save = file
        if len(checkpoint.history) < saved.epochs:
            refuse_unwritable(file, "--save FILE keeps what comes in another file")
    source = _absolute(options.data) or checkpoint.settings.get("source")
    data = mnist.load(source)
    size = min(options.train_size or checkpoint.settings["data"]["n"], len(data.train))
    return Training.resume(checkpoint, saved, data.head(size), source)


def _train(training: Training, options: argparse.Namespace) -> int:
    """Train to the end, saving after every epoch; 130 after Ctrl-C."""
    epochs = training.network.epochs
    file, saved = options.resume or options.save, len(training.history)  # the checkpoint to go on with, if need be
    if options.history:
        write_history(training, options.history)
    try:
        for epoch in training.fit(progress_bar(options.quiet), compiled=not options.eager):
            with uninterrupted():  # so that what is said of the file is what it holds
                if options.save:
                    training.save(options.save)
                    file, saved = options.save, epoch.epoch
                if options.history:
                    write_history(training, options.history)
                if not options.quiet:
                    print(line(epoch, epochs), flush=True)
    except train.DivergedError as error:
        raise train.DivergedError(f"{error}; {_saved(file, saved, training)}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename or options.save or options.history or 'output'}: {error.strerror or error}"
        raise OSError(f"{what}; {_saved(file, saved, training)}") from None
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


def _introduce(training: Training, options: argparse.Namespace) -> None:
    network, data, done = training.network, training.data, len(training.history)
    print(f"{network_name(network)}: {in_words(network)}, seed {network.seed}")
    print(sizes(data))
    if data.test is None:
        print("there are no test files (t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte): the test column says none")
    if done >= network.epochs and options.resume:
        print(f"{options.resume}: is already trained for {done} epochs; --epochs N continues up to N in total")
    elif done:
        print(f"{options.resume}: goes on after epoch {done}")
    sys.stdout.flush()


def write_history(training: Training, file: Path) -> None:
    """Write settings and results of every epoch as JSON, whole or not at all."""
    record = {
        "network": network_name(training.network),
        "settings": asdict(training.network),
        "data": training.about,
        "epochs": [asdict(epoch) for epoch in training.history],
    }
    with whole(file) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
