"""IDX, the format of MNIST's files: read no further than their headers claim, or told what they are instead.

A header of big-endian 32-bit integers, then the values, row by row:

    0x00000803: bytes (08) in 3 dimensions (03); the size of each; the values

The third byte tells the type, of which `TYPES` has all; the fourth, the number of dimensions. Files may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
REMEDY = "fetch it again from where it came from, as `python -m tinygrad_mnist.mnist DIR` does for MNIST"
UNREADABLE = (OSError, EOFError, zlib.error)  # what reading a file, or gunzipping a damaged one, raises
GZIP = b"\x1f\x8b"
HEAD = 512  # bytes that are looked at first: a header has at most 16, an archive is recognised by some more
PIECE = 1 << 20  # bytes that are read at a time: a header may claim what it likes, nothing is allocated on its word
LARGE = 1 << 28  # bytes, five times MNIST: more are counted before they are kept, as gigabytes of zeros zip to nothing
BEYOND = 1 << 16  # bytes beyond the claim that are counted before counting is given up

Values: TypeAlias = npt.NDArray[Any]

# What people have saved as data, by its first bytes.
OTHERS = (
    (GZIP, "a file that was gzipped twice: gunzip it once"),
    (b"<", "a web page"),
    (b"PK\3\4", "a ZIP archive: unpack it"),
    (b"\xfd7zXZ\0", "an xz file: unpack it"),
    (b"BZh", "a bzip2 file: unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file: unpack it"),
    (b"\x1f\x9d", "a compressed file: uncompress it"),
    (b"\x93NUMPY", "a .npy file, which numpy.load reads"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80\2", "a pickle"),
    (b"\x80\3", "a pickle"),
    (b"\x80\4", "a pickle"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
)


class Header(NamedTuple):
    """What a file says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # of the values

    @property
    def end(self) -> int:
        """How many bytes the file must have."""
        return self.start + self.dtype.itemsize * math.prod(self.shape)


class DataError(ValueError):
    """A data file is not what it should be: one line says which, what was expected and found, a remedy."""


def bad(path: Path, expected: str, found: object) -> DataError:
    """The error that says so, in one line whatever was found."""
    return DataError(f"{path}: expected {expected}, found {' '.join(str(found).split())}; {REMEDY}")


def header_of(path: Path, *dims: int) -> Header:
    """Return what the header of a file claims; `dims` are the numbers of dimensions that it may have.

    Raises:
        DataError: it is not in the format, or has none of `dims`.
    """
    with opened(path) as stream:
        return _header(path, stream.read(HEAD), dims)


def read(path: Path, *dims: int) -> Values:
    """Return the array in a file, which has one of `dims` as its number of dimensions.

    Raises:
        DataError: it is not in the format, has none of `dims`, or holds less or more than its header claims.
    """
    if header_of(path, *dims).end > LARGE:
        verify(path, *dims)
    content = bytearray()
    header = _go_through(path, dims, content.extend)
    return np.frombuffer(content, header.dtype, offset=header.start).reshape(header.shape)


def verify(path: Path, *dims: int) -> None:
    """Raise what `read` would, but keep nothing."""
    _go_through(path, dims, lambda piece: None)


def _go_through(path: Path, dims: tuple[int, ...], keep: Callable[[bytes], None]) -> Header:
    with opened(path) as stream:
        piece = stream.read(HEAD)
        header, found = _header(path, piece, dims), 0
        while piece:  # to the end, where gzip has verified its checksum, but not far beyond the claim
            keep(piece)
            found += len(piece)
            piece = stream.read(min(max(header.end + BEYOND - found, 0), PIECE))
    if found != header.end:
        claim, most = " x ".join(map(str, header.shape)), "at least " * (found >= header.end + BEYOND)
        raise bad(path, f"{header.end} bytes, as its header says {claim}", f"{most}{found} bytes")
    return header


def packed(array: Values) -> bytes:
    """Return the content of a file that holds an array, of one of the types that the format has."""
    code = next(code for code, name in TYPES.items() if np.dtype(name) == array.dtype.newbyteorder(">"))
    header = struct.pack(f">{1 + array.ndim}I", code << 8 | array.ndim, *array.shape)
    return header + array.astype(TYPES[code]).tobytes()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, gunzipping what is gzipped, whatever its name; all that goes wrong with it is a DataError."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would keep us waiting for ever
            raise OSError("something other than a file")
        with path.open("rb") as file:
            if file.peek(2).startswith(GZIP):
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream  # type: ignore[misc]  # it reads as a BinaryIO does
            else:
                yield file
    except UNREADABLE as error:
        raise bad(path, "a whole file that can be read", error) from error


def _header(path: Path, head: bytes, dims: tuple[int, ...]) -> Header:
    """Return what the first bytes of a file say of it."""
    least = 4 + 4 * min(dims)
    if len(head) < least:
        raise bad(path, f"a header of {least} bytes", f"{len(head)} bytes in all{_other(head)}")
    (magic,) = struct.unpack_from(">I", head)
    code, n_dims = magic >> 8, magic & 0xFF
    start = 4 + 4 * n_dims
    if code not in TYPES or n_dims not in dims or len(head) < start:
        raise bad(path, f"the magic number {0x0800 | min(dims):#010x}", f"{magic:#010x}{_other(head)}")
    shape = struct.unpack_from(f">{n_dims}I", head, 4)
    if 0 in shape:
        raise bad(path, "at least one value", f"a header that says {' x '.join(map(str, shape))}")
    return Header(np.dtype(TYPES[code]), shape, start)


def _other(head: bytes) -> str:
    """What a file is that is not IDX, as far as its first bytes tell."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, what in OTHERS:
        if (text if start == b"<" else head).startswith(start):
            return f", {what}"
    if head[257:262] == b"ustar":
        return ", a tar archive: unpack it"
    words = " ".join(text[:40].decode("ascii", "replace").split())
    return f", text that begins with {words!r}" if len(words) > 3 and words.isascii() and words.isprintable() else ""
