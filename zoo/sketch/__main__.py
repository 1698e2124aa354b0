"""A live page in your browser: draw a digit, see all that a network makes of it, and watch it learn.

    python -m zoo.sketch               a network to train on the page
    python -m zoo.sketch model.npz     one that was saved with --save

What is shown is computed by this program, on this machine alone: training is what `python -m zoo.network` does, with
the same bits for the same settings. The page's address holds the settings. Ctrl-C ends it; nothing is saved.
"""

import argparse
import sys
from pathlib import Path

from tinygrad_mnist.command import guarded

from ..limits import Limit, whole_number
from ..network import Network
from ..options import DATA, Run, add_options, command_line, load_data
from .serving import PORT, require, serve
from .subjects import ZooSubject

_PORTS = whole_number(0)
PORTS = Limit("a port, from 0 to 65535", _PORTS.read, lambda n: _PORTS.allows(n) and n < 65536)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_line("zoo.sketch", __doc__)
    result.add_argument("model", metavar="MODEL.npz", nargs="?", type=Path, help="what was saved with --save")
    result.add_argument(
        "--port",
        type=PORTS,
        default=PORT,
        metavar="N",
        help=f"where on this machine; another if taken (default: {PORT})",
    )
    result.add_argument("--no-browser", action="store_true", help="only print the address")
    add_options(result.add_argument_group("data"), Run, DATA)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""

    def command() -> int:
        line = parser()
        options = line.parse_args(arguments)
        if options.model and options.train_size:
            line.error("--train-size is for a new network; MODEL.npz goes on with its own")
        require()
        if options.model:
            subject = ZooSubject.of_checkpoint(options.model, options.data)
        else:
            subject = ZooSubject(
                load_data(options.data, options.train_size), Network(), options.data, options.train_size
            )
        serve(subject, options.port, not options.no_browser)
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
