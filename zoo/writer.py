"""A transformer that learns to write digits, one patch after the other: "write me a 7".

    python -m zoo.writer --write 2 0 2 6    with the writer in zoo/models
    python -m zoo.writer --complete 18      a test digit's lower part, invented
    python -m zoo.writer --attention 2      where each head looks
    python -m zoo.writer --save model.npz   train one: some minutes
    python -m zoo.writer model.npz --write 7 4 --count 8

Idea. A model of language says which word comes next. Here a digit of 28 x 28 pixels is cut into 7 x 7 patches, each of
which is replaced by the nearest of 64 (zoo/patches.py); so it is a text of 49 symbols, from the upper left to the lower
right, and its first word is its class. A causal transformer (zoo/transformer.py) learns to say what comes next:

    cost = -1/49 Σ ln p(patch i | class, patches before i)
    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V

Then it writes: give it a class, draw a patch from what it says, give it that too, and so on. Given the upper part of a
digit it completes it; and by Bayes' rule the class under which an image is likeliest is what it reads.

Parts. An embedding gives each symbol a vector, and each place; attention lets a place take in what the places before it
know, each of four heads in its own way; after it each place thinks for itself (mlp); what a block finds is added to
what was there, so that gradients pass. Vaswani et al., "Attention Is All You Need", 2017. The optimizer is Adam, whose
rate grows for 100 steps, stays to the middle, and falls to 0.

Measured with seeds 0, 1 and 2 (`python -m zoo.writer --backend c --seed N --measure`), lowest to highest:
    held out        1.51 to 1.60 nats a patch after 100 steps,
                    1.02 to 1.08 (500), 0.93 to 0.95 (1,000),
                    0.87 to 0.89 (2,000), 0.836 to 0.854 (3,126, two epochs);
                    a guess costs ln 64 = 4.16
    read as asked   92.9 to 93.6 % of what it writes at temperature 0.7, by a
                    network3 that never saw a written digit; of real digits
                    through the codebook 94.7 to 95.1 %, as they are 96.4 %;
                    at temperature 1 89 %, at 0.4 93 % (seed 0, 500 digits)
    argmax p        96.0 to 96.5 % of real digits are read right by
                    argmax p(image | class)
    copies          written digits differ from the nearest training digit in
                    10 of 49 patches (median), real test digits in 11
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import guarded, status_of, uninterrupted
from tinygrad_mnist.files import claimed
from tinygrad_mnist.installation import told
from tinygrad_mnist.train import CheckpointError

from .base import options_of
from .commandline import back_end, progress_bar, refuse_unwritable, require
from .limits import file_name, number, whole_number
from .models import NETWORK3, WRITER
from .options import DATA, Run, add_backend, add_options, command_line, flag, load_data
from .words import counted, rate, sizes, wrapped
from .writer_actions import act, refuse_impossible
from .writer_measures import MOST
from .writer_training import Record, WriterSettings, WriterTraining, settings_of_writer, writer_of

ACTIONS = ("write", "complete", "classify", "attention", "measure")
SETTINGS = options_of(WriterSettings)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_line("zoo.writer", __doc__)
    result.add_argument(
        "model",
        metavar="MODEL.npz",
        nargs="?",
        type=Path,
        help="a saved writer, to write with; without it one is trained, or, with options of the next group alone, the "
        "one in zoo/models is taken",
    )
    does = result.add_argument_group("what it does, once it is trained")
    index, natural = whole_number(0), whole_number(1)
    does.add_argument("--write", metavar="CLASS", nargs="+", type=index, help="write digits of these classes")
    does.add_argument(
        "--complete", metavar="INDEX", type=index, help="complete a test digit, of which it sees the upper part only"
    )
    does.add_argument(
        "--classify",
        metavar="N",
        nargs="?",
        type=natural,
        const=MOST,
        help=f"say which digits the first N test digits are, by argmax p(image | class) (default: {MOST})",
    )
    does.add_argument(
        "--attention", metavar="INDEX", type=index, help="where each head looks as it writes a patch of this test digit"
    )
    does.add_argument("--patch", metavar="N", type=index, help="which patch, from 0 (default: the middle one)")
    does.add_argument("--measure", action="store_true", help="how well it writes, in figures")
    does.add_argument(
        "--temperature",
        metavar="T",
        type=number(0),
        default=0.7,
        help="1 writes as it believes digits are, below 1 more of what is likely, 0 only the likeliest (default: 0.7)",
    )
    does.add_argument(
        "--count",
        metavar="N",
        type=natural,
        help="how many of each class, or completions (default: 4; in a picture 10); with --measure, how many in all "
        "(default: 1000)",
    )
    does.add_argument(
        "--reader",
        metavar="FILE",
        type=Path,
        default=NETWORK3,
        help="a network of the zoo, which reads what was written (default: the network3 in zoo/models)",
    )
    does.add_argument(
        "--picture",
        metavar="FILE.png",
        type=file_name(".png"),
        help="draw it, as a grid by class; or the completions, or the attention",
    )
    learning = result.add_argument_group("how it learns")
    add_options(learning, WriterSettings, SETTINGS)
    add_backend(learning)
    add_options(result.add_argument_group("data"), Run, DATA)
    files = result.add_argument_group("files and what is shown")
    files.add_argument("--save", metavar="FILE", type=Path, help="a checkpoint (.npz), written every hundred steps")
    files.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="continue from a checkpoint with its settings, bit for bit as if never stopped, and save to it; --steps "
        "is then the total",
    )
    files.add_argument("--weights-only", action="store_true", help="at the end save only what writing needs, a third")
    add_options(files, Run, ["overwrite"])
    files.add_argument("--quiet", action="store_true", help="the last line of training only, and what was asked for")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""

    def command() -> int:
        usage = parser()
        asked = _checked(usage, usage.parse_args(arguments))
        with claimed(*(file for file in (asked.save or asked.resume, asked.picture) if file)):
            return _run(asked)

    return guarded(command)


def _checked(usage: argparse.ArgumentParser, asked: argparse.Namespace) -> argparse.Namespace:
    """What was asked for, with `given`, the settings, and `trains`, whether a writer is to be trained."""
    asked.given = {name: getattr(asked, name) for name in SETTINGS if hasattr(asked, name)}
    asked.actions = [name for name in ACTIONS if getattr(asked, name) is not None and getattr(asked, name) is not False]
    learns = [flag(name) for name in asked.given if name != "seed"]
    learns += [flag(name) for name in ("save", "resume", "backend", "weights_only") if getattr(asked, name)]
    if asked.model and learns:
        usage.error(f"{learns[0]} is for training, and {asked.model} is trained; --resume {asked.model} trains it on")
    if asked.weights_only and not (asked.save or asked.resume):
        usage.error("--weights-only says what is saved; name a file with --save")
    if asked.picture and len(set(asked.actions) - {"classify", "measure"}) > 1:
        usage.error(f"--picture draws one thing; give one of {', '.join(map(flag, asked.actions))}")
    if asked.patch is not None and asked.attention is None:
        usage.error("--patch is for --attention; name a test digit with --attention INDEX")
    if asked.save and asked.resume and os.path.realpath(asked.save) == os.path.realpath(asked.resume):
        asked.save = None  # the file that is gone on with is saved to anyhow
    asked.trains = bool(learns) or not (asked.model or asked.actions or asked.picture)
    return asked


def _run(asked: argparse.Namespace) -> int:
    refuse_unwritable(asked.save)
    refuse_unwritable(asked.picture)
    for file in (asked.save, asked.picture):
        if file and file.exists() and not asked.overwrite:
            raise ValueError(_there_already(file))
    if asked.picture:
        require("matplotlib")
    data: mnist.Dataset | None = None
    if asked.trains:
        training = _resumed(asked) if asked.resume else _new(asked)
        refuse_impossible(training.writer, training.data, asked)
        if status := _train(training, asked):
            return status
        writer, data, source = training.writer, training.data, training.source
        if not asked.actions and not asked.quiet:
            asked.actions, asked.write, asked.count = ["write"], range(writer.n_classes), asked.count or 1
    else:
        checkpoint = train.load(asked.model or WRITER)
        writer, source = writer_of(checkpoint), checkpoint.settings["source"]
    if set(asked.actions) - {"write"} and data is None:
        directory = asked.data or (None if source is None else Path(source))
        data = load_data(directory, asked.train_size)
        if data.image_shape != writer.image_shape or data.n_classes != writer.n_classes:
            raise ValueError(
                f"{data.source}: holds {data.n_classes} classes of images of {data.image_shape}, the writer writes "
                f"{writer.n_classes} of {writer.image_shape}; name its --data"
            )
    refuse_impossible(writer, data, asked)
    act(writer, data, asked)
    return 0


def _new(asked: argparse.Namespace) -> WriterTraining:
    source = None if asked.data is None else os.path.abspath(os.path.expanduser(asked.data))
    settings = WriterSettings(**asked.given)  # before the data is read
    return WriterTraining(settings, load_data(asked.data, asked.train_size), source, asked.backend or "numpy")


def _resumed(asked: argparse.Namespace) -> WriterTraining:
    checkpoint = train.load(asked.resume)
    settings = settings_of_writer(checkpoint)
    for name, value in asked.given.items():
        if name != "steps" and value != (was := getattr(settings, name)):
            raise CheckpointError(
                f"{asked.resume}: was trained with {flag(name)} {was}, not {value}; leave it out, or train anew"
            )
    if asked.save is None:
        refuse_unwritable(asked.resume, "--save FILE keeps what comes in another file")
    saved = checkpoint.settings
    backend = back_end(checkpoint, asked.backend)
    source = saved["source"] if asked.data is None else os.path.abspath(os.path.expanduser(asked.data))
    data = mnist.load(source)
    data = data.head(min(asked.train_size or saved["data"]["n"], len(data.train)))
    settings = replace(settings, steps=asked.given.get("steps", settings.steps))
    return WriterTraining.resume(checkpoint, settings, data, source, backend)


def _train(training: WriterTraining, asked: argparse.Namespace) -> int:
    """Train to the last step, saving every hundred; 130 after Ctrl-C, 143 after SIGTERM."""
    steps, file, saved = training.settings.steps, asked.resume or asked.save, training.done
    if not asked.quiet:
        print(f"writer: {_in_words(training)}\n{sizes(training.data)}", flush=True)
        if training.done:
            over = "is already trained for" if training.done >= steps else "goes on after"
            print(f"{asked.resume}: {over} {counted(training.done, 'step')}", flush=True)
    progress = progress_bar(asked.quiet)
    try:
        for record in training.fit(progress):
            with uninterrupted():  # so that what is said of the file is what it holds
                if target := asked.save or asked.resume:
                    training.save(target, asked.weights_only and training.done == steps)
                    file, saved = target, training.done
                if not asked.quiet:
                    _say(_line(record, steps), above=progress is not None)
    except train.DivergedError as error:
        raise train.DivergedError(f"{error}; {_saved(file, saved, goes_on=False)}") from None  # and would again
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename or 'standard output'}: {error.strerror}" if error.strerror else str(error)
        raise OSError(f"{what}; {_saved(file, saved)}") from None
    except KeyboardInterrupt as interruption:
        text = f"interrupted after step {training.done} of {steps}; {_saved(file, saved)}"
        print(wrapped(text, sys.stderr), file=sys.stderr)
        return status_of(interruption)
    if asked.quiet and training.records:
        print(_line(training.records[-1], steps))
    return 0


def _say(text: str, above: bool) -> None:
    """Print a line, above a progress bar if there is one."""
    if above:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stdout)
    else:
        print(text, flush=True)


def _in_words(training: WriterTraining) -> str:
    settings = training.settings
    words = [f"{name.replace('_', '-')} {getattr(settings, name)}" for name in SETTINGS]
    return f"{', '.join(words)}; {sum(p.size for p in training.writer.parameters()):,} parameters"


def _line(record: Record, steps: int) -> str:
    return (
        f"step {record.step:{len(str(steps))}}/{steps}  cost {record.cost:.3f}  held out {record.held_out:.3f} nats a "
        f"patch  lr {rate(record.lr)}  {record.seconds:.1f} s"
    )


def _saved(file: Path | None, steps: int, goes_on: bool = True) -> str:
    """What is in the checkpoint, and how the writer goes on with it."""
    if file is None:
        return "nothing was saved: --save FILE would have kept every hundred steps"
    if steps == 0:
        return f"nothing was saved in {file}: the first hundred steps were not finished"
    done = "the first step" if steps == 1 else f"the first {steps} steps"
    return f"{file} holds {done}" + (f"; `{_go_on(file)}` goes on" if goes_on else "")


def _go_on(file: Path) -> str:
    return told(f"python -m zoo.writer --resume {shlex.quote(str(file))}")


def _there_already(file: Path) -> str:
    """What is in a file that was not to be replaced."""
    try:
        checkpoint = train.load(file)
        settings = settings_of_writer(checkpoint)
    except (CheckpointError, OSError):
        return f"{file}: already exists; name another file, or add --overwrite to replace it"
    done, anew = checkpoint.settings["done"], "to begin anew, name another file or add --overwrite"
    if done >= settings.steps:
        more = "" if checkpoint.settings["weights_only"] else f"; `{_go_on(file)} --steps N` goes on to N"
        return f"{file}: holds a finished writer of {counted(done, 'step')}{more}; {anew}"
    return (
        f"{file}: holds {done} of {counted(settings.steps, 'step')} of a writer; `{_go_on(file)}` goes on with "
        f"them; {anew}"
    )


if __name__ == "__main__":
    sys.exit(main())
