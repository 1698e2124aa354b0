"""Files: where the package's own are, and how others are written so that nothing is lost."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PACKAGE = os.path.dirname(__file__) + os.sep
"""What the names of the package's own files begin with: a line of code in any other file is the user's."""


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to, beside `path`; what is there after the block replaces `path` in one stroke.

    After an exception in the block, or a crash at any moment, `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield part
        _to_disk(part)
        os.replace(part, target)
        if os.name == "posix":
            _to_disk(target.parent)  # the new name
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
