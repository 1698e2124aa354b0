"""Files: where the package's own are, and how others are written so that nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

PACKAGE = os.path.dirname(__file__) + os.sep
"""What the names of the package's own files begin with: a line of code in any other file is the user's."""


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to, beside `path`; what is there after the block replaces `path` in one stroke.

    After an exception in the block, or a crash at any moment, `path` is as it was.

    Raises:
        OSError: `path` is something other than a file, such as a device, which is not to be replaced by one.
    """
    target = Path(os.path.realpath(path))
    there = target.exists()
    if there and not target.is_file():
        raise OSError(f"{path}: is not a file that can be replaced; name another")
    part = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")  # nobody else's, in whatever process
    try:
        yield part
        if there:
            shutil.copymode(target, part)
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
