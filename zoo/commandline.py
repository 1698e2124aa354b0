"""What a network's command does: train, say how it goes, and lose nothing. The options are in `options.py`.

Exit status: 0; 1 for what went wrong, with one line on stderr; 2 for wrong usage; 130 for Ctrl-C; 143 for SIGTERM.
"""

import importlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygrad_mnist import mnist, native, train
from tinygrad_mnist.command import bar_size, guarded, status_of, uninterrupted
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.files import claimed, whole
from tinygrad_mnist.replay import BACKENDS
from tinygrad_mnist.train import CheckpointError

from .base import BaseNetwork
from .names import check_name, command_of, make_one_module, network_name, title
from .options import Run, flag, load_data, parse, parser_of
from .places import place_of
from .stopping import stands_still, what_is_kept, why_stopped
from .training import Training, settings_of
from .words import counted, grown, in_words, line, never_said, shown, sizes, wrapped


def main(network: type[BaseNetwork], arguments: list[str] | None = None) -> int:
    """Run the command of one network; return its exit status. Wrong usage exits with 2.

    The network's file may be in zoo/ or anywhere else. What goes wrong in a file of one's own is named with its line.
    """
    namespace = sys._getframe(1).f_globals

    def command() -> int:
        make_one_module(network, namespace)
        check_name(network)
        parser = parser_of(network, sys.modules[network.__module__].__doc__ or "")
        run = parse(parser, network, arguments)
        with claimed(*run.written):  # before what is there is looked at
            return _run(network, run)

    return guarded(command, where=place_of)


def _run(network: type[BaseNetwork], run: Run) -> int:
    from . import pictures, report  # for which --help need not wait

    for file in (run.save, run.history, run.plot, run.graph, run.page):
        refuse_unwritable(file)
        if file and not run.overwrite and not (run.resume and file == run.history):
            refuse_to_lose(file, network_name(network) if file == run.save else None)
    for module in ["matplotlib"] * bool(run.plot) + ["graphviz"] * bool(run.graph):
        require(module)
    if run.resume:
        training = _resumed(network, run, run.resume)
        if run.history and not run.overwrite and not _goes_on(training, run.history):
            refuse_to_lose(run.history)
    else:
        data = load_data(run.data, run.train_size)
        training = Training(
            run.network(network), data, _absolute(run.data), run.backend or "numpy", run.patience, run.keep_best
        )
    if not run.quiet:
        _introduce(training, run)
    if run.graph:
        print(f"{pictures.graph(training, run.graph)}: the computation graph of one step")
    if run.page:
        made = pictures.page(training, run.page)
        print(f"{made}: a step of training on the first digits, to walk through in a browser")
    status = _train(training, run)
    if status:
        return status
    lacking, done = (run.checkpoint, run.history, run.plot), (run.page, run.graph, run.report, run.draw, run.draw_wrong)
    if not training.history and not run.quiet and (any(lacking) or not any(done)):
        print("no epoch was asked for: nothing is saved or plotted")
    if run.quiet and training.history:
        print(line(training.result, training.network.epochs))
    _tell_of_stopping(training, run)
    if training.history:
        for file, what in ((run.checkpoint, "the trained network"), (run.history, "settings and results")):
            if file:
                print(f"{file}: {what}, {counted(len(training.history), 'epoch')}")
    training.use_best()
    if lost := training.lost_classes():
        print(wrapped(never_said(lost, training.network, training.sigmoids)))
    if training.history and (remark := grown(training.history[-1], training.network)):
        print(wrapped(remark))
    if run.plot and training.history:
        pictures.plot(training, run.plot)
        print(f"{run.plot}: the learning curves")
    if run.report:
        report.report(training)
    if run.draw or run.draw_wrong:
        pictures.draw(training, run.draw, run.draw_wrong)
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
    if module == "matplotlib":
        os.environ["MPLBACKEND"] = "agg"  # files are all that is drawn: a window's back end may be no one's here
    logging.getLogger(module).setLevel(logging.ERROR)  # of a HOME that it cannot write to matplotlib says two lines
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"this Python has no {module}; use the one that tinygrad_mnist is installed for, or pip install {module}"
        ) from None


def refuse_to_lose(file: Path, name: str | None = None) -> None:
    """Raise if there is a file already, and say what it holds; `name` is the network that would be saved to it."""
    if not file.exists():
        return
    try:
        checkpoint = train.load(file)
        saved = settings_of(checkpoint)
    except (CheckpointError, OSError):
        if name is None:
            raise ValueError(f"{file}: already exists; name another file, or add --overwrite to replace it") from None
        raise CheckpointError(f"{file}: already exists and is not a checkpoint of the zoo; name another file") from None
    done, kind = len(checkpoint.history), network_name(saved)
    anew = "to begin anew, name another file or add --overwrite"
    if done < saved.epochs and stands_still(checkpoint.history, _patience(checkpoint, None)):
        goes_on = f"`{_go_on(saved, file)} --patience N` goes on with a larger N"
        raise CheckpointError(f"{file}: holds a {kind} that stopped after {counted(done, 'epoch')}; {goes_on}; {anew}")
    if done < saved.epochs:
        there = f"{done} of {counted(saved.epochs, 'epoch')} of {kind}"
        raise CheckpointError(f"{file}: holds {there}; `{_go_on(saved, file)}` goes on with them; {anew}")
    if name != kind:
        raise CheckpointError(f"{file}: already exists and holds a {title(saved)}; name another file")
    raise CheckpointError(
        f"{file}: holds a finished {kind} of {counted(done, 'epoch')}; `{_go_on(saved, file)} --epochs N` goes on to "
        f"N; {anew}"
    )


def _goes_on(training: Training, file: Path) -> bool:
    """Whether a file is missing, or holds the history of this training as far as it was."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        ours = json.loads(json.dumps(training.record()))  # with lists for tuples
        known = record["epochs"]
        ours["settings"]["epochs"] = record["settings"]["epochs"]
        return (
            all(record[key] == ours[key] for key in ("network", "settings")) and known == ours["epochs"][: len(known)]
        )
    except FileNotFoundError:
        return True
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _absolute(path: Path | None) -> str | None:
    """A path that holds in other directories too."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def _resumed(network: type[BaseNetwork], run: Run, file: Path) -> Training:
    """The network of a checkpoint, where it was."""
    checkpoint = train.load(file)
    saved = settings_of(checkpoint)
    if network_name(saved) != network_name(network):
        raise CheckpointError(
            f"{file}: was saved by {title(saved)}, not {title(network)}; `{_go_on(saved, file)}` goes on with it"
        )
    if run.recipe is not None and (run.recipe == "original") != saved.per_example:
        raise CheckpointError(f"{file}: was not trained with --recipe {run.recipe}; leave it out, or train anew")
    for setting, value in run.given.items():
        if setting != "epochs" and value != (was := getattr(saved, setting)):
            option = flag(setting)
            raise CheckpointError(
                f"{file}: was trained with {option} {shown(was)}, not {shown(value)}; leave {option} out, or train anew"
            )
    saved = replace(saved, epochs=run.given.get("epochs", saved.epochs))
    if run.save is None and len(checkpoint.history) < saved.epochs:
        refuse_unwritable(file, "--save FILE keeps what comes in another file")
    source = _absolute(run.data) or checkpoint.settings.get("source")
    data = mnist.load(source)
    size = min(run.train_size or checkpoint.settings["data"]["n"], len(data.train))
    patience, keep_best = _patience(checkpoint, run.patience), run.keep_best or _keeps_best(checkpoint)
    return Training.resume(
        checkpoint, saved, data.head(size), source, back_end(checkpoint, run.backend), patience, keep_best
    )


def _patience(checkpoint: train.Checkpoint, given: int | None) -> int | None:
    """The patience of the rest of a training: as before, if no other is given."""
    before = checkpoint.settings.get("patience")
    if before is not None and not (type(before) is int and before >= 1):
        raise CheckpointError(f"{checkpoint.path}: was trained with the patience {in_one_line(before)}, which is none")
    return before if given is None else given


def _keeps_best(checkpoint: train.Checkpoint) -> bool:
    before = checkpoint.settings.get("keep_best", False)
    if not isinstance(before, bool):
        raise CheckpointError(f"{checkpoint.path}: says of --keep-best {in_one_line(before)}, not True or False")
    return before


def back_end(checkpoint: train.Checkpoint, asked: str | None) -> str:
    """What the rest of a training is compiled to: as before, if nothing else is asked for."""
    before = checkpoint.settings.get("backend", "numpy")
    if before not in BACKENDS:
        raise CheckpointError(
            f"{checkpoint.path}: was trained with the back end {in_one_line(before)}, which is not known"
        )
    if asked is None and before == "c":
        try:
            native.compiler()
        except native.NativeError as error:
            raise CheckpointError(
                f"{checkpoint.path}: was trained with --backend c, but {error}; --backend numpy goes on, in other bits"
            ) from None
    return asked or before


def _train(training: Training, run: Run) -> int:
    """Train to the end, saving after every epoch; 130 after Ctrl-C, 143 after SIGTERM."""
    epochs = training.network.epochs
    file, saved = run.resume or run.save, len(training.history)  # the checkpoint to go on with, if need be
    if run.history:
        write_json({"data": training.about, **training.record()}, run.history)
    try:
        for epoch in training.fit(progress_bar(run.quiet)):
            with uninterrupted():  # so that what is said of the file is what it holds
                if run.checkpoint:
                    training.save(run.checkpoint)
                    file, saved = run.checkpoint, epoch.epoch
                if run.history:
                    write_json({"data": training.about, **training.record()}, run.history)
                if not run.quiet:
                    print(line(epoch, epochs), flush=True)
    except train.DivergedError as error:
        raise train.DivergedError(f"{error}; {_saved(file, saved)}") from None  # and would again, from what was saved
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename or 'standard output'}: {error.strerror}" if error.strerror else str(error)
        raise OSError(f"{what}; {_saved(file, saved, training.network)}") from None
    except KeyboardInterrupt as interruption:
        doing = min(len(training.history) + 1, epochs)
        text = f"interrupted in epoch {doing} of {epochs}; {_saved(file, saved, training.network)}"
        print(wrapped(text, sys.stderr), file=sys.stderr)
        return status_of(interruption)
    return 0


def _saved(file: Path | None, epochs: int, network: BaseNetwork | None = None) -> str:
    """What is in the checkpoint, and how the network goes on with it."""
    if file is None:
        return "nothing was saved: --save FILE would have kept every finished epoch"
    if epochs == 0:
        return f"nothing was saved in {file}: no epoch was finished"
    done = "the first epoch" if epochs == 1 else f"the first {epochs} epochs"
    return f"{file} holds {done}" + (f"; `{_go_on(network, file)}` goes on" if network else "")


def _go_on(network: BaseNetwork, file: Path) -> str:
    return f"{command_of(network)} --resume {shlex.quote(str(file))}"


def progress_bar(quiet: bool) -> Callable[..., Iterable[Any]] | None:
    """What shows how far an epoch is, and its cost: tqdm, and only on a terminal."""
    if quiet or not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    def bar(batches: Iterable[Any], **about: Any) -> Any:
        shown = tqdm(batches, leave=False, unit=" steps", ncols=bar_size()[0], **about)
        shown.dynamic_ncols = bar_size
        return shown

    return bar


def _introduce(training: Training, run: Run) -> None:
    network, data, done = training.network, training.data, len(training.history)
    print(wrapped(f"{network_name(network)}: {in_words(network)}, seed {network.seed}"))
    print(wrapped(sizes(data)))
    if data.test is None:
        print("there are no test files (t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte): the test column says none")
    if done >= network.epochs and run.resume:
        print(f"{run.resume}: is already trained for {counted(done, 'epoch')}; --epochs N continues up to N in total")
    elif training.stopped:
        print(f"{run.resume}: had stopped after epoch {done}; --patience N goes on with a larger N")
    elif done:
        print(f"{run.resume}: goes on after epoch {done}")
    sys.stdout.flush()


def _tell_of_stopping(training: Training, run: Run) -> None:
    if training.stopped and training.patience is not None and not run.quiet:
        print(why_stopped(training.history, training.patience))
    if training.best is not None and not run.quiet:
        print(what_is_kept(training.history))


def write_json(record: Mapping[str, Any], file: Path) -> None:
    """Write a record as JSON, whole or not at all."""
    with whole(file) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
