"""What all commands share: whatever goes wrong is a line on standard error and an exit status."""

from __future__ import annotations

import argparse
import codecs
import difflib
import errno
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .installation import told
from .threads import one_thread
from .version import __version__

ERRORS = (ValueError, OSError, ArithmeticError, RuntimeError, ImportError, MemoryError)
"""What a command may end with: the message says what went wrong."""

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals besides Ctrl-C's that end a command: from a system that shuts down, and a terminal that is closed."""

LONGEST = 1000
"""Characters of a message; of a longer one, as of a name of 300 kB, the beginning and the end are shown."""


WIDEST = 120
"""Columns of prose, however wide the terminal: longer lines are hard to read."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end a command as Ctrl-C does, but for its exit status."""


class Parser(argparse.ArgumentParser):
    """A command line whose errors are short and name what was meant, and whose help fits the terminal.

    Args:
        prog: how the command is called.
        description: what it does; indented lines, which are to be typed, stay as they are.
        epilog: said at the end of the help.
        commands: others that may have been meant, `zoo.network2`, where a word is given that this one does not take.
    """

    def __init__(
        self, prog: str, description: str | None, epilog: str | None = None, commands: Sequence[str] = ()
    ) -> None:
        super().__init__(
            told(prog),
            description=told(description or ""),
            epilog=told(epilog or ""),
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.commands = commands
        self.add_argument("--version", action="version", version=f"tinygrad_mnist {__version__}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with what is not known as an error."""
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.unrecognized(unknown)
        return known

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse, with `--save=--` as an error: of it some versions of Python make an empty list."""
        given = sys.argv[1:] if args is None else list(args)
        for text in given[: given.index("--")] if "--" in given else given:
            if text.startswith("-") and text.partition("=")[2] == "--":
                self.error(f"argument {text[:-3]}: expected a value, got '--'")
        return super().parse_known_args(given, namespace)

    def unrecognized(self, arguments: Sequence[str], note: str = "") -> NoReturn:
        """Refuse arguments, with `note` on the first, or else with what may have been meant."""
        word = arguments[0].partition("=")[0]
        if word.startswith("-"):
            note = note or did_you_mean(word, self._option_string_actions)
        else:
            names = {command.rpartition(".")[2]: told(f"python -m {command}") for command in self.commands}
            note = note or did_you_mean(word.rpartition(".")[2], names, names.__getitem__)
        self.error(f"unrecognized arguments: {' '.join(arguments)}{note}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is no choice, in the words of every other error."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            meant = did_you_mean(str(value), known)
            raise argparse.ArgumentError(action, f"expected one of {', '.join(known)}, got {value!r:.60}{meant}")

    def error(self, message: str) -> NoReturn:
        """Say what was wrong, and where the options are told, and exit with 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (`{self.prog} --help` tells the options)\n")


class _Help(argparse.HelpFormatter):
    """As wide as the terminal, up to `WIDEST`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.indent(filled(text, width), indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width).split("\n")


def columns() -> int:
    """How wide what is printed may be: as the terminal is (or $COLUMNS says), between 40 and `WIDEST`; else 80."""
    return min(max(shutil.get_terminal_size().columns, 40), WIDEST)


def bar_size(file: object = None) -> tuple[int, None]:
    """How large a progress bar is (tqdm's `dynamic_ncols`): it leaves room for ^C, and is never wider than 77 columns.

    A terminal writes ^C behind the bar, and what does not fit goes to the next line: half a bar would be left above it.
    One that is made narrower breaks a longer line, and keeps its beginning.
    """
    return min(shutil.get_terminal_size().columns, 80) - 3, None


def filled(text: str, width: int) -> str:
    r"""Text written in lines of up to 120 characters in lines of this width; short ones stay, and commands whole.

    >>> print(filled("One sentence that is long.\nA new one.\n\n    python -m zoo   all four", 14))
    One sentence
    that is long.
    A new one.
    <BLANKLINE>
        python -m zoo
          all four
    """
    paragraphs: list[str] = []
    before = ""
    for line in textwrap.dedent(text).strip("\n").splitlines():
        first = line.split(" ")[0]
        prose = bool(before and line and not line.startswith(" ") and not before.startswith(" "))
        if prose and len(before) + len(first) >= 100:  # it was broken for want of room
            paragraphs[-1] += f" {line}"
        else:
            paragraphs.append(line)
        before = line
    return "\n".join((_broken if line.startswith(" ") else _wrapped)(line, width) for line in paragraphs)


def _broken(line: str, width: int) -> str:
    """An indented line, as it is where it fits; else broken at its gaps, as those before what a command is for."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    first, *others = re.split(r"\s{2,}", line.strip())
    lines = [indent + first]
    for part in others:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines += textwrap.indent(_wrapped(part, width - len(indent) - 2), f"{indent}  ").split("\n")
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)  # --lr-gamma is one word


def did_you_mean(word: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """What may have been meant by a word that is not known, as the end of a message; nothing, if nothing is near.

    >>> did_you_mean("--epoch", ["--epochs", "--seed"])
    '; did you mean --epochs?'
    >>> did_you_mean("--colour", ["--epochs", "--seed"])
    ''
    """
    names = {name.strip("-").lower(): name for name in known}
    plain = word.strip("-").lower()[:100]
    beginning = [name for name in names if len(plain) > 1 and name.startswith(plain)]
    near = beginning if len(beginning) == 1 else difflib.get_close_matches(plain, names, n=1)
    return f"; did you mean {shown(names[near[0]])}?" if near else ""


def near_file(path: str | os.PathLike[str]) -> str:
    """Which file may have been meant by one that is not there, as the end of a message."""
    try:
        missing = Path(path)
        names = [] if missing.exists() else sorted(os.listdir(missing.parent))  # which may be there, and no directory
        return did_you_mean(missing.name, names, lambda name: str(missing.parent / name))
    except (OSError, ValueError):
        return ""


def one_line(message: str) -> str:
    """A message as one line, and not too long a one."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def status_of(interruption: KeyboardInterrupt) -> int:
    """The exit status of an interrupted command: 143 after SIGTERM or SIGHUP, 130 after Ctrl-C."""
    return 143 if isinstance(interruption, Terminated) else 130


def guarded(command: Callable[[], int], name: str = "error", where: Callable[[Exception], str] | None = None) -> int:
    """Run a command and return its exit status.

    0; 1 for what went wrong, with one line on standard error that begins with `name`, and ends with what `where` says
    of the error's place; 2 for wrong usage (argparse has said how); 130 for Ctrl-C; 143 for SIGTERM and for SIGHUP,
    which end it as Ctrl-C does unless they are ignored, as under nohup. Standard output that nobody reads any more, as
    with `| head`, ends the command quietly.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (None, where the caller closed it)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=SHOWN)  # a terminal without η shows ? for it
    heard = []
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        heard = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
        for number in heard:
            signal.signal(number, _terminate)
    try:
        try:
            with one_thread():
                return command()
        finally:
            if sys.exc_info()[0] in (None, SystemExit):  # now, where a full disk can still be reported
                sys.stdout.flush()
    except KeyboardInterrupt as interruption:
        print("interrupted", file=sys.stderr)
        return status_of(interruption)
    except BrokenPipeError:
        _close_output()
        return 1
    except ERRORS as error:
        place = where(error) if where is not None else ""
        print(f"{name}:", worded(error) + place, file=sys.stderr)
        _close_output()
        return 1
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def worded(error: Exception) -> str:
    """What went wrong, in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.filename:
        meant = near_file(error.filename) if error.errno == errno.ENOENT else ""
        text = f"{error.filename}: {error.strerror}{meant}"
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        text = f"standard output: {error.strerror}"  # whatever else is written has a name
    return one_line(text) or type(error).__name__


def _as_written(error: UnicodeError) -> tuple[bytes, int]:
    """What cannot be written: bytes of a file's name stay that a bare locale could not read, the rest becomes "?".

    So a command that is told with the name can be copied there. Who reads what is written as UTF-8 can always do so.
    """
    assert isinstance(error, UnicodeEncodeError)
    codes = [ord(letter) for letter in error.object[error.start : error.end]]
    written = bytes(code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else ord("?") for code in codes)
    try:
        written.decode()
    except UnicodeDecodeError:
        written = b"?" * len(codes)
    return written, error.end


SHOWN = "tinygrad_mnist.shown"
codecs.register_error(SHOWN, _as_written)


def _terminate(*event: Any) -> None:
    for number in ENDING:  # once is enough: a terminal that is closed may send both
        if signal.getsignal(number) is _terminate:
            signal.signal(number, signal.SIG_IGN)
    raise Terminated


def _close_output() -> None:
    """Write what can still be written, and let nothing of the rest trouble Python when it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C, and what else ends a command, until the block is done; then it is raised."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    held: list[Any] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *event: held.append(event))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in held[:1]:
        before[number](number, frame)
