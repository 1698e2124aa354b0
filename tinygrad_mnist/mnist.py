"""MNIST, or any data set in its format: reading, verifying and batching it; downloading it when asked to.

    data = mnist.load()                                    # 50,000 / 10,000 / 10,000 digits
    for images, labels in mnist.batches(data.train, 10, np.random.default_rng(0)):
        ...                                                # float32 (10, 784) in [0, 1], int64 (10,)

The format, IDX, is a header of big-endian 32-bit integers, then one byte per value:

    images: 0x00000803, number of images, rows, columns; then the pixels, row by row, 0 = paper, 255 = ink
    labels: 0x00000801, number of labels; then the labels

`python -m tinygrad_mnist.mnist DIR` downloads the four files of MNIST. Nothing else here touches the network.
"""

import gzip
import hashlib
import io
import math
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .command import Parser, guarded
from .files import whole

__all__ = ["FILES", "MIRRORS", "DataError", "Dataset", "Split", "batches", "download", "load"]

# Size in bytes and SHA-256 of each file of MNIST, both uncompressed: mirrors may compress differently.
FILES = {
    "train-images-idx3-ubyte": (47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
TIMEOUT = 30.0  # seconds of silence after which a mirror is given up
REMEDY = "`python -m tinygrad_mnist.mnist DIR` downloads missing or damaged MNIST files into DIR"
UNREADABLE = (OSError, EOFError, zlib.error)  # what reading a file, or gunzipping a damaged one, raises

Bytes: TypeAlias = npt.NDArray[np.uint8]


class DataError(ValueError):
    """A data file is not what it should be: one line says which, what was expected and found, a remedy."""


# ---- What a data set is


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, `len(split)` of them. The arrays of those that `load` returns are read-only.

    images: float32 (n, rows * columns), pixels in [0, 1]
    labels: int64 (n,), in 0 .. n_classes - 1
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"expected one label per image, got {len(self.labels)} for {len(self.images)}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split(images={self.images.shape}, labels={self.labels.shape})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """What `load` returns."""

    train: Split
    validation: Split  # empty where there are fewer than six training images
    test: Split | None  # None where there are no test files
    n_classes: int  # the largest label of all files, plus one
    image_shape: tuple[int, int]  # rows, columns
    source: Path  # the directory that it was read from

    def head(self, n: int) -> "Dataset":
        """Return the data set with only its first `n` training images, 1 <= n <= len(train); copies nothing.

        >>> some = Split(np.zeros((50, 4), np.float32), np.arange(50))
        >>> data = Dataset(some, some, None, n_classes=50, image_shape=(2, 2), source=Path())
        >>> len(data.head(20).train), len(data.head(20).validation)
        (20, 50)
        """
        _check_count("the number of training images", n)
        if n > len(self.train):
            raise ValueError(f"{n} training images asked for, {self.source} has {len(self.train)}; ask for fewer")
        return replace(self, train=Split(self.train.images[:n], self.train.labels[:n]))


def batches(
    split: Split, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """Iterate over one epoch: each example once, in (images, labels) of `batch_size`; the last may be fewer.

    The order is drawn from `rng` at the call, so the same seed gives the same batches; None keeps the order.
    Batches are copies, and `split` stays as it is. ValueError: `batch_size` is not an integer of at least 1.

    >>> split = Split(np.eye(5, dtype=np.float32), np.arange(5))
    >>> [labels.tolist() for images, labels in batches(split, 2)]
    [[0, 1], [2, 3], [4]]
    >>> [labels.tolist() for images, labels in batches(split, 2, np.random.default_rng(1))]
    [[4, 0], [1, 2], [3]]
    """
    _check_count("batch_size", batch_size)
    if not isinstance(rng, np.random.Generator | None):
        raise TypeError(f"rng must be None or a Generator such as numpy.random.default_rng(0), got {rng!r}")
    images, labels, n = split.images, split.labels, len(split)
    order = np.arange(n) if rng is None else rng.permutation(n)
    chunks = (order[start : start + batch_size] for start in range(0, n, batch_size))
    # An epoch of 50,000 digits in tens: take 19 ms, images[chunk] 24 ms, one shuffled copy of it all 41 ms.
    return ((images.take(chunk, axis=0), labels.take(chunk)) for chunk in chunks)


def _check_count(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{what} must be an integer of at least 1, got {value!r}")


# ---- Finding and reading it


def load(path: str | os.PathLike[str] | None = None) -> Dataset:
    """Read MNIST, or whatever data set of its format the directory `path` holds.

    A given `path` is the only place looked at; else the environment variable TINYGRAD_MNIST_DATA, if set;
    else this repository's data/, then the user's cache, tinygrad_mnist in $XDG_CACHE_HOME or ~/.cache.
    Files may be gzipped or not, images of any size, classes 1 to 256. The last sixth of the training images,
    rounded down and at most 10,000, validates. The arrays are read-only: copy them to change them.

    FileNotFoundError: a file is missing. DataError: a file is not what it should be.
    """
    places = _places(path)
    for source in places:
        if (train := _read_pair(source, "train")) is not None:
            break
    else:
        looked = " or ".join(str(at) if os.path.isdir(at) else f"{at} (not a directory)" for at in places)
        raise FileNotFoundError(f"no train-images-idx3-ubyte, gzipped or not, in {looked}; {REMEDY}")
    images, labels = train
    rows, columns = images.shape[1:]
    test = _read_pair(source, "t10k")
    if test is not None and test[0].shape[1:] != (rows, columns):
        raise _bad(source, f"test images of {(rows, columns)}, as for training", test[0].shape[1:])
    n = len(images) - min(len(images) // 6, 10_000)
    return Dataset(
        train=_split(images[:n], labels[:n]),
        validation=_split(images[n:], labels[n:]),
        test=None if test is None else _split(*test),
        n_classes=1 + max(int(pair[1].max()) for pair in (train, test) if pair is not None),
        image_shape=(rows, columns),
        source=source,
    )


def _places(path: str | os.PathLike[str] | None) -> list[Path]:
    """Return the directories to look in, in that order."""
    if path is None:
        path = os.environ.get("TINYGRAD_MNIST_DATA") or None
    if path is not None:
        return [Path(os.path.expanduser(path))]
    cache = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return [Path(__file__).resolve().parent.parent / "data", Path(cache, "tinygrad_mnist")]


def _find(place: Path, name: str) -> Path | None:
    """Return the file `name` of `place`, or None. Gzipped goes first, so that what was downloaded is used."""
    spellings = name, name.replace("-idx", ".idx")  # train-images.idx3-ubyte is current too
    paths = [place / f"{spelling}{suffix}" for spelling in spellings for suffix in (".gz", "")]
    there = filter(os.path.exists, paths)
    return max(there, key=os.path.isfile, default=None)  # the first file; only if there is none, a directory


def _read_pair(place: Path, part: str) -> tuple[Bytes, Bytes] | None:
    """Return images (n, rows, columns) and labels (n,) of "train" or "t10k"; None where there are none."""
    names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    images_path, labels_path = (_find(place, name) for name in names)
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        missing = names[0] if images_path is None else names[1]
        raise FileNotFoundError(f"{place}: expected {' and '.join(names)}, {missing} is missing; {REMEDY}")
    images = _parse(images_path, _read(images_path), n_dims=3)
    labels = _parse(labels_path, _read(labels_path), n_dims=1)
    if len(images) != len(labels):
        raise _bad(labels_path, f"{len(images)} labels, one per image of {images_path.name}", len(labels))
    return images, labels


def _read(path: Path) -> bytes:
    """Return the content of a file, uncompressed."""
    try:
        return _unzip(path.read_bytes())
    except UNREADABLE as error:
        raise _bad(path, "a whole file that can be read", error) from error


def _unzip(content: bytes, most: int = -1) -> bytes:
    """Return `content`; if it is gzipped, whatever its name, `most` bytes of what it unzips to (-1: all)."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        return stream.read(most)


def _parse(path: Path, content: bytes, n_dims: int) -> Bytes:
    """Return the array in the IDX `content` of `path`: `n_dims` is 3 for images, 1 for labels."""
    magic, header = 0x0800 | n_dims, 4 + 4 * n_dims  # 0x08: the values are unsigned bytes
    if len(content) < header:
        raise _bad(path, f"a header of {header} bytes", f"{len(content)} bytes in all")
    found, *shape = struct.unpack_from(f">{1 + n_dims}I", content)
    if found != magic:
        raise _bad(path, f"the magic number {magic:#010x}", f"{found:#010x}")
    claim, total = " x ".join(map(str, shape)), header + math.prod(shape)
    if 0 in shape:
        raise _bad(path, "at least one value", f"a header that says {claim}")
    if len(content) != total:  # a header may claim what it likes: nothing is allocated on its word
        raise _bad(path, f"{total} bytes, as its header says {claim}", f"{len(content)} bytes")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _split(images: Bytes, labels: Bytes) -> Split:
    """Turn images (n, rows, columns) of bytes, and their labels, into a read-only Split."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    # In one pass: 41 ms for 60,000 digits. A table of the 256 floats takes 143 ms; gunzipping, 160 ms.
    split = Split(np.divide(flat, np.float32(255), dtype=np.float32), labels.astype(np.int64))
    split.images.flags.writeable = split.labels.flags.writeable = False
    return split


def _bad(path: Path, expected: str, found: object) -> DataError:
    return DataError(f"{path}: expected {expected}, found {found}; {REMEDY}")


# ---- Downloading it, when asked to


def download(directory: str | os.PathLike[str], mirror: str | None = None) -> None:
    """Fetch the files of MNIST into `directory`, made if missing, from the URL `mirror`, else from MIRRORS.

    Each is verified by its checksum, and written whole or not at all. A file already there and right is kept,
    a damaged one replaced, a sound one of another data set never touched. Prints a line at each step.

    DataError: no mirror sent the right file, or another data set is there. OSError: cannot write there.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        there, path = _find(directory, name), directory / f"{name}.gz"
        if there is not None and _is_mnist(there, name):
            print(f"{there}: already there, verified", flush=True)
            continue
        content = _fetch(name, MIRRORS if mirror is None else [mirror])
        with whole(path) as part:
            part.write_bytes(content)
        print(f"{path}: {len(content):,} bytes, verified", flush=True)


def _is_mnist(path: Path, name: str) -> bool:
    """Return whether `path` is MNIST's `name`: False if it is damaged; raise if it is another data set's."""
    try:
        content = _read(path)
        if hashlib.sha256(content).hexdigest() == FILES[name][1]:
            return True
        _parse(path, content, n_dims=3 if "images" in name else 1)
    except DataError:
        return False
    raise DataError(f"{path}: expected MNIST or nothing, found another data set; choose another directory")


def _fetch(name: str, mirrors: Sequence[str]) -> bytes:
    """Return the gzipped file `name`, from the first of `mirrors` that sends the right one."""
    import http.client  # only a download waits for these two: 35 ms, half as long as importing NumPy
    import urllib.request

    size, digest = FILES[name]
    faults = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        print(f"{url}: fetching", flush=True)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                content: bytes = response.read(size + 65_536)  # never more: gzip adds at most a little
            unzipped = _unzip(content, most=size + 1)
        except (*UNREADABLE, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
            faults.append(f"{url}: {error}")
            continue
        found = hashlib.sha256(unzipped).hexdigest()
        if found == digest:
            return content
        faults.append(f"{url}: expected SHA-256 {digest}, found {found}")
    raise DataError(f"{'; '.join(faults)}; check the network, or name another mirror with --mirror URL")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 for what went wrong, 130 for Ctrl-C. Wrong usage exits with 2."""
    what = "Download MNIST (four files, 12 MB) into DIR, verified. What is there already is kept."
    parser = Parser("python -m tinygrad_mnist.mnist", what)
    parser.add_argument("directory", metavar="DIR", help="where to put the files; made if missing")
    parser.add_argument("--mirror", metavar="URL", help="where to get them instead of the public mirrors")

    def command() -> int:
        options = parser.parse_args(arguments)
        try:
            download(options.directory, options.mirror)
        except BrokenPipeError:
            raise
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise OSError(f"{what}; choose a DIR that can be written to") from None
        where = os.path.abspath(options.directory)
        print(f"MNIST is in {where}: set TINYGRAD_MNIST_DATA={where}, or call mnist.load({where!r})")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
