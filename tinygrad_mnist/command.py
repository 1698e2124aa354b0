"""What all commands share: whatever goes wrong is a line on standard error and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ERRORS = (ValueError, OSError, ArithmeticError, RuntimeError, ImportError, MemoryError)
"""What a command may end with: the message says what went wrong."""


def guarded(command: Callable[[], int], name: str = "error") -> int:
    """Run a command and return its exit status.

    0; 1 for what went wrong, with one line on standard error that begins with `name`; 2 for wrong usage (argparse has
    said how); 130 for Ctrl-C. Standard output that nobody reads any more, as with `| head`, ends the command quietly.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (None, where the caller closed it)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without η shows ? for it
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            return command()
        finally:
            if sys.exc_info()[0] in (None, SystemExit):  # now, where a full disk can still be reported
                sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _close_output()
        return 1
    except ERRORS as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"{name}:", " ".join(text.split()) or type(error).__name__, file=sys.stderr)
        _close_output()
        return 1


def _close_output() -> None:
    """Write what can still be written, and let nothing of the rest trouble Python when it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done; then it is raised."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    held: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *event: held.append(event))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt
