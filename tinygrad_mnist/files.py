"""Files: where the package's own are, and how others are written so that nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_locks: Any = importlib.import_module("fcntl") if os.name == "posix" else None
"""None on Windows, where nothing is known of what other processes write."""

PACKAGE = os.path.dirname(__file__) + os.sep
"""What the names of the package's own files begin with: a line of code in any other file is the user's."""


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to, beside `path`; what is there after the block replaces `path` in one stroke.

    After an exception in the block, or a crash at any moment, `path` is as it was. What a process that was killed left
    beside `path` is removed by the next one that writes it.

    Raises:
        OSError: `path` is something other than a file, such as a device, which is not to be replaced by one; or it
            cannot be written. It is `path` that errors name, also those of the block that name no other file.
    """
    target = Path(os.path.realpath(path))
    there = target.exists()
    if there and not target.is_file():
        raise OSError(f"{path}: is not a file that can be replaced; name another")
    if not target.parent.is_dir():
        what = f"there is no directory {os.path.dirname(path) or target.parent}; make it, or name another file"
        raise FileNotFoundError(errno.ENOENT, what, os.fspath(path))
    _remove_what_was_left(target)
    with contextlib.ExitStack() as held:
        try:
            part = _new_part(target, held)
            yield part
            if there:
                shutil.copymode(target, part)
            _to_disk(part)
            os.replace(part, target)
            if os.name == "posix":
                _to_disk(target.parent)  # the new name
        except OSError as error:
            named = Path(str(error.filename or target))
            if error.errno is None or not (named in (target, target.parent) or named.match(_beside(target, "*").name)):
                raise
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None


@contextlib.contextmanager
def claimed(*paths: str | os.PathLike[str]) -> Iterator[None]:
    """Let nobody else claim these files until the block is done, or its process ends in whatever way.

    Raises:
        OSError: another process, or another block, has claimed one of them.
    """
    with contextlib.ExitStack() as held:
        for path in paths:
            target = Path(os.path.realpath(path))
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory; name a file", os.fspath(path))
            try:
                claim = _locked(_beside(target, "claim"), os.O_CREAT, held)
            except BlockingIOError:
                what = "another run is writing it; wait until it has ended, or name another file"
                raise OSError(f"{path}: {what}") from None
            except OSError:  # where nothing can be written, nothing is lost
                continue
            held.callback(claim.unlink, missing_ok=True)
        yield


def _beside(target: Path, what: str) -> Path:
    """A hidden file for a target; of its name, which may be as long as names can be, it has a digest."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.{what}")


def _new_part(target: Path, held: contextlib.ExitStack) -> Path:
    """An empty file beside the target, which is there, and locked, as long as it is held."""
    suffix = target.suffix if len(target.suffix) < 9 else ""
    while True:
        part = _beside(target, f"{uuid.uuid4().hex}{suffix}")  # nobody else's, in whatever process
        with contextlib.suppress(BlockingIOError):  # of who took it, in this very moment, for one that was left
            _locked(part, os.O_CREAT | os.O_EXCL, held)
            held.callback(part.unlink, missing_ok=True)
            return part


def _remove_what_was_left(target: Path) -> None:
    """Remove the hidden files of this target that no process holds any more."""
    if _locks is None:
        return
    for left in target.parent.glob(_beside(target, "*").name):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            _locked(left, 0, held).unlink()


def _locked(path: Path, flags: int, held: contextlib.ExitStack) -> Path:
    """Open a file and lock it as long as it is held; the system ends the locks of a process that was killed.

    Raises:
        BlockingIOError: someone else has locked it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | flags, 0o666)
        if _locks is None:
            os.close(descriptor)
            return path
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, descriptor)
            try:
                _locks.flock(descriptor, _locks.LOCK_EX | _locks.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError) or not flags:
                    raise  # where a file system has no locks, nothing is known to have been left
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # and was not removed before it was locked
                    held.push(opened.pop_all())
                    return path


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
