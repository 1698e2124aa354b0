"""Compiling C while a program runs: the compiler, its flags, a cache of what it made, and loading that.

The compiler is the one that $CC names, else `cc`, else ziglang's from pip (`pip install tinygrad_mnist[native]`). What
was compiled is kept in the user's cache directory, in a directory that belongs to the user alone, by its text, the
flags, the compiler and the processor's features, until it was not used for three months.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from .convert import Array

FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
"""Nothing that changes results: -ffast-math and -Ofast made NaN of 1 / (1 + exp(89)) within 30 epochs.

-O2 is 3.7 times slower. -fno-math-errno lets sqrt be an instruction, and -fno-trapping-math a choice of two numbers be
computed for both, so that sigmoids are vectors, in a third of the time: errno and the flags of exceptions are what
nobody reads here.
-ffp-contract=off, as x x - y y of equal numbers is 0, and a root of less is NaN; products have a way round it.
"""

MACHINE = ("-march=native", "-mcpu=native", "")
"""Ways to ask for the instruction set of this machine, the first that the compiler takes."""

TIMEOUT = 120
"""Seconds for a compilation; the zoo's step takes less than one."""

PATIENCE = 20
"""Seconds for the few lines of the first one; but ziglang compiles a library of its own before it, for 10 to 60."""

UNUSED = 90 * 24 * 3600
"""Seconds after which what was compiled, and not loaded since, is removed; tests alone made 185 MB in two days."""

PROBE = """
#include <math.h>
int lanes(void) {
#if defined __AVX512F__
    return 64;
#elif defined __AVX__
    return 32;
#else
    return 16;
#endif
}
double probe(double x) { return sqrt(x); }
"""


class NativeError(RuntimeError):
    """There is no compiler, or it does not work: why, in one line."""


class _SlowError(NativeError):
    """It did not end."""


class Compiler(NamedTuple):
    """A C compiler that works.

    Attributes:
        command: how it is called, flags included.
        files: that it is made of, with their sizes and times; a word of its own about itself would take 5 ms.
        vector: how many bytes a vector of this machine holds.
    """

    command: tuple[str, ...]
    files: str
    vector: int


def compiler() -> Compiler:
    """The compiler, tried on a few lines.

    Raises:
        NativeError: there is none that works.
    """
    if isinstance(found := tried(), str):
        raise NativeError(found)
    return found


@functools.cache
def tried() -> Compiler | str:
    """The compiler, or why there is none: it is tried once, as one that hangs takes its time."""
    reasons = []
    try:
        for command in _commands():
            files = _files(command)
            for machine in MACHINE:
                one = Compiler((*command, *FLAGS, *([machine] if machine else [])), files, 16)
                try:
                    return one._replace(vector=_load(PROBE, one).lanes())
                except _SlowError as error:
                    reasons.append(str(error))
                    break
                except NativeError as error:
                    reasons.append(str(error))
    except NativeError as error:
        return str(error)
    reason = reasons[0] if reasons else "there is no cc"
    full = os.strerror(errno.ENOSPC) in reason
    remedy = "make room, or set TMPDIR" if full else "install one, set CC, or pip install ziglang"
    return f"no C compiler works here ({reason}); {remedy}"


def load(text: str) -> ctypes.CDLL:
    """The functions of a C text, compiled now or earlier.

    Raises:
        NativeError: there is no compiler, or it refuses the text.
    """
    return _load(text.strip("\n"), compiler())


def pointers(*arrays: Array) -> Any:
    """The addresses of arrays, as a C function takes them: void **. They hold while this is held."""
    table: Any = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    table.arrays = arrays
    return table


def _commands() -> list[list[str]]:
    """Compilers to try, in order."""
    try:
        if named := shlex.split(os.environ.get("CC", "")):
            return [named]
    except ValueError as error:
        raise NativeError(f"CC: {error}") from None
    found = [[path] for path in (shutil.which("cc"),) if path]
    zig = importlib.util.find_spec("ziglang") is not None
    return found + ([[sys.executable, "-m", "ziglang", "cc"]] if zig else [])


def _files(command: list[str]) -> str:
    paths = [shutil.which(word) or word for word in command]
    if "ziglang" in command and (spec := importlib.util.find_spec("ziglang")) is not None:
        paths.append(spec.origin or "")
    told = []
    for path in filter(os.path.isfile, paths):
        status = os.stat(path)
        told.append(f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(told)


def _run(command: list[str], timeout: float) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        raise NativeError(f"{command[0]}: {error}") from None
    except subprocess.TimeoutExpired:
        raise _SlowError(f"{command[0]} did not end within {timeout} s") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no word"]
        raise NativeError(f"{command[0]}: {told[0]:.200}")


@functools.cache  # what is loaded stays anyhow, and what a program was made with is there when it is bound
def _load(text: str, by: Compiler) -> ctypes.CDLL:
    key = "\n".join([text, *by.command, by.files, _processor()])
    name = _digest(key.encode())
    reason = ""
    for place in (cache_directory, _temporary):
        try:
            directory = place()
            made = [directory / file for file in os.listdir(directory) if file.startswith(name)]  # glob is slow
            library = next(filter(_is_whole, made), None) or _compile(text, by, directory, name)
            loaded = ctypes.CDLL(str(library))
            with contextlib.suppress(OSError):
                os.utime(library)  # used now
            return loaded
        except _SlowError:
            raise
        except (OSError, NativeError) as error:  # there may be no room, or nothing may be executed from there
            reason = reason or str(error)
    raise NativeError(reason.replace("\n", " "))


def _compile(text: str, by: Compiler, directory: Path, name: str) -> Path:
    """Compile into a file that is then named by what it holds: whole or not at all, whoever else does the same."""
    _tidy(directory)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        source, made = Path(place) / "step.c", Path(place) / "step.so"
        source.write_text(text, encoding="utf-8")
        short = text is PROBE and "ziglang" not in by.command
        _run([*by.command, str(source), "-o", str(made), "-lm"], min(TIMEOUT, PATIENCE) if short else TIMEOUT)
        if not made.exists():
            raise NativeError(f"{by.command[0]}: ended without an error, and wrote no library")
        os.chmod(made, 0o700)
        library = directory / f"{name}-{_digest(made.read_bytes())}.so"
        os.replace(made, library)
    return library


@functools.cache  # once a process: to look at each of 6,000 files took 100 ms, as long as to compile one
def _tidy(directory: Path) -> None:
    """Remove what was not used for long, and what a process that was killed had not finished."""
    now = time.time()
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            age = now - path.stat().st_mtime
            if path.suffix == ".so" and age > UNUSED:
                path.unlink()
            elif path.name.startswith("tmp") and age > 10 * TIMEOUT:
                shutil.rmtree(path)


def _is_whole(library: Path) -> bool:
    """Whether a file is the user's own, and holds what it did: to load one that is cut off would end the process."""
    return _is_mine(library) and library.stem.endswith(f"-{_digest(library.read_bytes())}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def cache_directory() -> Path:
    """Where compiled programs are kept: the user's own, or where that cannot be one for this process."""
    try:
        if sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            named = os.environ.get("XDG_CACHE_HOME", "")
            base = Path(named) if os.path.isabs(named) else Path.home() / ".cache"  # the standard ignores all others
        directory = base / "tinygrad_mnist"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_mine(directory) and os.access(directory, os.W_OK):
            return directory
    except (OSError, RuntimeError):  # of Path.home(), of a user without one
        pass
    return _temporary()


def _temporary() -> Path:
    return _kept_by(os.getpid())


@functools.cache
def _kept_by(process: int) -> Path:
    """A directory that a process removes when it ends."""
    directory = tempfile.mkdtemp(prefix="tinygrad_mnist_")
    atexit.register(_remove, directory, process)
    return Path(directory)


def _remove(directory: str, process: int) -> None:
    if os.getpid() == process:  # not a child of it, which ends before it does
        shutil.rmtree(directory, ignore_errors=True)


def _is_mine(path: Path) -> bool:
    """Whether a file or directory is there, belongs to the user, and nobody else can write to it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode)
    return private and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


@functools.cache
def _processor() -> str:
    """What the processor can do, as a home directory may be seen by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {features}"  # platform.processor() would ask another process
