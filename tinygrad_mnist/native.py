"""Compiling C while a program runs: the compiler, its flags, a cache of what it made, and loading that.

The compiler is the one that $CC names, else `cc`, else ziglang's from pip (`pip install tinygrad_mnist[native]`). What
was compiled is kept in the user's cache directory, in a directory that belongs to the user alone, by its text, the
flags, the compiler and the processor's features.
"""

from __future__ import annotations

import ctypes
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
from pathlib import Path
from typing import Any, NamedTuple

from .convert import Array

FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC")
"""Nothing that changes results: -ffast-math and -Ofast made NaN of 1 / (1 + exp(89)) within 30 epochs.

-O2 is 3.7 times slower. -fno-math-errno lets sqrt be an instruction: errno is what nobody reads here.
-ffp-contract=off, as x x - y y of equal numbers is 0, and a root of less is NaN; products have a way round it.
"""

MACHINE = ("-march=native", "-mcpu=native", "")
"""Ways to ask for the instruction set of this machine, the first that the compiler takes."""

TIMEOUT = 120
"""Seconds for a compilation; the zoo's step takes less than one."""

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


class Compiler(NamedTuple):
    """A C compiler that works.

    Attributes:
        command: how it is called, flags included.
        version: its first line about itself.
        vector: how many bytes a vector of this machine holds.
    """

    command: tuple[str, ...]
    version: str
    vector: int


@functools.cache
def compiler() -> Compiler:
    """The compiler, tried on a few lines.

    Raises:
        NativeError: there is none that works.
    """
    reasons = []
    for command in _commands():
        try:
            version = _run([*command, "--version"]).splitlines()[0]
        except (NativeError, IndexError) as error:
            reasons.append(str(error))
            continue
        for machine in MACHINE:
            tried = Compiler((*command, *FLAGS, *([machine] if machine else [])), version, 16)
            try:
                return tried._replace(vector=_load(PROBE, tried).lanes())
            except NativeError as error:
                reasons.append(str(error))
    raise NativeError(
        f"no C compiler works here ({reasons[0] if reasons else 'there is no cc'}); "
        "install one, set CC, or pip install ziglang"
    )


def load(text: str) -> ctypes.CDLL:
    """The functions of a C text, compiled now or earlier.

    Raises:
        NativeError: there is no compiler, or it refuses the text.
    """
    return _load(text, compiler())


def pointers(*arrays: Array) -> Any:
    """The addresses of arrays, as a C function takes them: void **. They hold while this is held."""
    table: Any = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    table.arrays = arrays
    return table


def _commands() -> list[list[str]]:
    """Compilers to try, in order."""
    if named := os.environ.get("CC"):
        return [shlex.split(named)]
    found = [[path] for path in (shutil.which("cc"),) if path]
    zig = importlib.util.find_spec("ziglang") is not None
    return found + ([[sys.executable, "-m", "ziglang", "cc"]] if zig else [])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        raise NativeError(f"{command[0]}: {error}") from None
    except subprocess.TimeoutExpired:
        raise NativeError(f"{command[0]} did not end within {TIMEOUT} s") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no word"]
        raise NativeError(f"{command[0]}: {told[0]:.200}")
    return done.stdout


def _load(text: str, by: Compiler) -> ctypes.CDLL:
    key = "\n".join([text, *by.command, by.version, _processor()])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    directory = cache_directory()
    library = directory / f"{name}.so"
    if not _is_mine(library):
        _compile(text, by, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # as in a directory from which nothing may be executed
        raise NativeError(f"{library}: {error}") from None


def _compile(text: str, by: Compiler, library: Path) -> None:
    """Compile into a file beside it, which then takes its name: whole or not at all, whoever else does the same."""
    with tempfile.TemporaryDirectory(dir=library.parent) as place:
        source, made = Path(place) / "step.c", Path(place) / "step.so"
        source.write_text(text, encoding="utf-8")
        _run([*by.command, str(source), "-o", str(made), "-lm"])
        os.chmod(made, 0o700)
        os.replace(made, library)


def cache_directory() -> Path:
    """Where compiled programs are kept: the user's own, or where that cannot be one for this process."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = base / "tinygrad_mnist"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_mine(directory) and os.access(directory, os.W_OK):
            return directory
    except (OSError, RuntimeError):
        pass
    return _temporary()


@functools.cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="tinygrad_mnist_"))


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
    return f"{platform.machine()} {platform.processor()} {features}"
