"""What all commands share: whatever goes wrong is a line on standard error and an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end a command as Ctrl-C does, but for its exit status."""


class Parser(argparse.ArgumentParser):
    """A command line whose errors are short, and whose description stands in the help as it was written."""

    def __init__(self, prog: str, description: str | None, epilog: str | None = None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(
            told(prog),
            description=told(description or ""),
            epilog=told(epilog or ""),
            formatter_class=layout,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"tinygrad_mnist {__version__}")

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse, with `--save=--` as an error: of it some versions of Python make an empty list."""
        given = sys.argv[1:] if args is None else list(args)
        for text in given[: given.index("--")] if "--" in given else given:
            if text.startswith("-") and text.partition("=")[2] == "--":
                self.error(f"argument {text[:-3]}: expected a value, got '--'")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Say how the command is used and what was wrong, and exit with 2."""
        super().error(one_line(message))


def one_line(message: str) -> str:
    """A message as one line, and not too long a one."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def status_of(interruption: KeyboardInterrupt) -> int:
    """The exit status of an interrupted command: 143 after SIGTERM or SIGHUP, 130 after Ctrl-C."""
    return 143 if isinstance(interruption, Terminated) else 130


def guarded(command: Callable[[], int], name: str = "error") -> int:
    """Run a command and return its exit status.

    0; 1 for what went wrong, with one line on standard error that begins with `name`; 2 for wrong usage (argparse has
    said how); 130 for Ctrl-C; 143 for SIGTERM and for SIGHUP, which end it as Ctrl-C does unless they are ignored, as
    under nohup. Standard output that nobody reads any more, as with `| head`, ends the command quietly.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (None, where the caller closed it)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without η shows ? for it
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
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"{name}:", one_line(text) or type(error).__name__, file=sys.stderr)
        _close_output()
        return 1
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


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
