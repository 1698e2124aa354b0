"""MNIST, or any data set in its format: finding and reading it; downloading it when asked to.

    data = mnist.load()                                    # 50,000 / 10,000 / 10,000 digits
    for images, labels in mnist.batches(data.train, 10, np.random.default_rng(0)):
        ...                                                # float32 (10, 784) in [0, 1], int64 (10,)

The files are in the format of `idx.py`: images, number x rows x columns, where 0 is paper; and their labels.

`python -m tinygrad_mnist.mnist DIR` downloads the four files of MNIST. Nothing else here touches the network.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import idx
from .command import Parser, guarded, near_file, uninterrupted
from .convert import in_one_line
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .dataset import batches as batches
from .dataset import sorted_by_class
from .files import whole
from .idx import REMEDY as REMEDY
from .idx import DataError as DataError
from .idx import Values, bad
from .installation import CHECKOUT

__all__ = ["FILES", "MIRRORS", "DataError", "Dataset", "Split", "batches", "convert", "download", "load"]

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
LIMIT = 600.0  # seconds after which it is given up, whatever it sends: the largest file needs 17 kB/s
CLASSES = 4096  # at most: training makes a table of their square, 64 MB
WHITES = (1, 16, 255, 65_535)  # what pixels may go up to: bits; the 8 x 8 digits of UCI; bytes; 16 bits


# ---- Finding and reading it


def load(path: str | os.PathLike[str] | None = None, *, transpose: bool = False) -> Dataset:
    """Read MNIST, or whatever data set of its format the directory `path` holds.

    A given `path` is the only place looked at; else the environment variable TINYGRAD_MNIST_DATA, if set;
    else a checkout's data/, then the user's cache, tinygrad_mnist in $XDG_CACHE_HOME or ~/.cache.

    Files may be gzipped or not, and have a name before MNIST's, as those of EMNIST and QMNIST; where there are several
    data sets in a directory, DIR/emnist-digits is one of them. `transpose` turns EMNIST's images, which lie on their
    side, upright. Images may be of any size, of bytes or numbers up to 1, 16, 255 or 65535, all of which become 1.

    The last sixth of the training images, rounded down and at most 10,000, validates; where classes would be missing
    from it or from the rest because the files are sorted by class, the last sixth of each class.
    The arrays are read-only: copy them to change them.

    FileNotFoundError: a file is missing. DataError: a file is not what it should be.
    """
    train, test, source = _read_all(path, transpose)
    images, labels = train.images, train.labels
    n = len(images) - min(len(images) // 6, 10_000)
    if (order := _mixed(labels, n)) is not None:
        images, labels = images[order], labels[order]
    white = _white(source, images, *(() if test is None else (test.images,)))
    rows, columns = images.shape[1:]
    return Dataset(
        train=_split(images[:n], labels[:n], white),
        validation=_split(images[n:], labels[n:], white),
        test=None if test is None else _split(test.images, test.labels, white),
        n_classes=1 + max(int(pair.labels.max()) for pair in (train, test) if pair is not None),
        image_shape=(rows, columns),
        source=source,
    )


class _Pair(NamedTuple):
    """Images (n, rows, columns), and their labels (n,), as they are in the files."""

    images: Values
    labels: npt.NDArray[np.int64]


def _read_all(path: str | os.PathLike[str] | None, transpose: bool) -> tuple[_Pair, _Pair | None, Path]:
    """Return what is to train on and to test on, and where it was found."""
    places = _places(path)
    for source in places:
        files, name = _chosen(source)
        if (train := _read_pair(source, files, name, "train")) is not None:
            break
    else:
        looked = " or ".join(str(at) if os.path.isdir(at) else f"{at} (not a directory)" for at in places)
        raise FileNotFoundError(
            f"no train-images-idx3-ubyte, gzipped or not, in {looked}; "
            f"`python -m tinygrad_mnist.mnist DIR` downloads MNIST{near_file(places[0]) if path is not None else ''}"
        )
    test = _read_pair(source, files, name, "t10k")
    shape = train.images.shape[1:]
    if test is not None and test.images.shape[1:] != shape:
        raise bad(source, f"test images of {shape}, as for training", test.images.shape[1:])
    if transpose:
        train, test = (
            None if pair is None else pair._replace(images=pair.images.transpose(0, 2, 1)) for pair in (train, test)
        )
    assert train is not None
    return train, test, source


def _places(path: str | os.PathLike[str] | None) -> list[Path]:
    """Return the directories to look in, in that order."""
    if path is None:
        path = os.environ.get("TINYGRAD_MNIST_DATA") or None
    if path is not None and not isinstance(path, str | os.PathLike):
        raise TypeError(f"load: expected the path of a directory, got {in_one_line(path)}; mnist.load() needs none")
    if path is not None:
        return [Path(os.path.expanduser(path))]
    cache = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return [*([CHECKOUT / "data"] if CHECKOUT else []), Path(cache, "tinygrad_mnist")]


# train-images-idx3-ubyte, train-images.idx3-ubyte, emnist-digits-test-labels-idx1-ubyte.gz, qmnist-test-labels-idx2-int
NAME = re.compile(r"((?:[^.].*[-_.])?)(train|t10k|test)[-_.](images|labels)[-_.]idx\d[-_.]\w+?(?:\.gz)*", re.IGNORECASE)


def _sets(place: Path) -> dict[str, dict[str, Path]]:
    """Return the files of each data set in a directory as {"emnist-digits-": {"train-images": path, ...}}.

    Of several files for one purpose MNIST's own spelling goes first, and the gzipped file, so that what was downloaded
    is used; a directory of that name only if there is no file.
    """
    found = []
    for path in place.iterdir() if os.path.isdir(place) else ():
        if match := NAME.fullmatch(path.name):
            name, part, kind = match.groups()
            test, gzipped = part.lower() == "test", path.suffix == ".gz"
            rank = not path.is_file(), test, ".idx" in path.name, not gzipped, path.name
            found.append((rank, name, f"{'t10k' if test else part}-{kind}".lower(), path))
    sets: dict[str, dict[str, Path]] = {}
    for _, name, purpose, path in sorted(found):
        sets.setdefault(name, {}).setdefault(purpose, path)
    return sets


def _chosen(place: Path) -> tuple[dict[str, Path], str]:
    """Return the files of the data set that `place` names, perhaps none, and what their names begin with."""
    if not os.path.isdir(place):  # DIR/emnist-digits
        for name, files in _sets(place.parent).items():
            if name and name[:-1] == place.name:
                return files, name
        return {}, ""
    sets = {name: files for name, files in _sets(place).items() if "train-images" in files or "train-labels" in files}
    if len(sets) > 1 and "" not in sets:
        names = sorted(name[:-1] for name in sets)
        raise DataError(
            f"{place}: expected one data set, found {len(names)}, {', '.join(names)}; name one, as {place / names[0]}"
        )
    name = "" if "" in sets else next(iter(sets), "")
    return sets.get(name, {}), name


def _read_pair(place: Path, files: Mapping[str, Path], name: str, part: str) -> _Pair | None:
    """Return what is to train on or to test on, "train" or "t10k"; None where there is none."""
    images_path, labels_path = files.get(f"{part}-images"), files.get(f"{part}-labels")
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        start = f"{name}test" if name and part == "t10k" else name + part
        names = f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"
        missing = names[0] if images_path is None else names[1]
        raise FileNotFoundError(f"{place}: expected {' and '.join(names)}, {missing} is missing; {REMEDY}")
    n, found = idx.header_of(images_path, 3).shape[0], idx.header_of(labels_path, 1, 2).shape[0]
    if n != found:  # before anything of a size that may not be true is read into memory
        idx.verify(images_path, 3)
        idx.verify(labels_path, 1, 2)
        raise bad(labels_path, f"{n} labels, one per image of {images_path.name}", found)
    return _Pair(_read_images(images_path), _read_labels(labels_path))


def _read_images(path: Path) -> Values:
    images = idx.read(path, 3)
    if images.dtype.kind != "u":
        wrong = ~((images >= 0) & (images <= WHITES[-1]))
        if wrong.any():
            image, row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            found = f"{images[image, row, column]} in image {image}, row {row}, column {column}"
            raise bad(path, f"pixels from 0 to one of {WHITES}", found)
    return images


def _read_labels(path: Path) -> npt.NDArray[np.int64]:
    labels = idx.read(path, 1, 2)
    if labels.ndim == 2:
        if labels.shape[1] != 1 and not (labels.shape[1] == 8 and labels.dtype.itemsize == 4):
            raise bad(path, "a label for each image, or QMNIST's 8 numbers of which it is the first", labels.shape)
        labels = labels[:, 0]
    wrong = ~((labels >= 0) & (labels < CLASSES)) | (labels != np.floor(labels))
    if wrong.any():
        image = int(wrong.argmax())
        raise bad(path, f"labels of 0 to {CLASSES - 1}", f"{labels[image]} for image {image}")
    return labels.astype(np.int64)


def _white(source: Path, *images: Values) -> int:
    """Return the value of full ink, the smallest of `WHITES` that no pixel exceeds."""
    largest = max(float(array.max()) for array in images)
    if images[0].dtype.kind == "u" and sum(array.size for array in images) < 16:
        return 255  # the largest of so few bytes says nothing
    if images[0].dtype.kind == "f" and 1 < largest < 2:
        raise bad(source, f"pixels up to one of {WHITES}", f"{largest} as the largest")
    return next(white for white in WHITES if largest <= white)


def _mixed(labels: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.intp] | None:
    """Return an order in which the first `n` and the rest have all classes, or None if there is no need of it.

    There is where a class of several images is missing from one of the two because the files are sorted by class.
    """
    counts, first, last = (np.bincount(part, minlength=labels.max() + 1) for part in (labels, labels[:n], labels[n:]))
    if n == len(labels) or not ((counts > 1) & ((first == 0) | (last == 0))).any():
        return None
    if not sorted_by_class(labels):
        return None
    # Each class is spread evenly from 0, its first image, to 1, its last.
    by_class = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.argsort(rank / np.maximum(counts - 1, 1)[labels], kind="stable")


def _split(images: Values, labels: npt.NDArray[np.int64], white: int) -> Split:
    """Turn images (n, rows, columns), and their labels, into a read-only Split."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    # In one pass: 41 ms for 60,000 digits. A table of the 256 floats takes 143 ms; gunzipping, 160 ms.
    split = Split(np.divide(flat, np.float32(white), dtype=np.float32), labels.copy())
    split.images.flags.writeable = split.labels.flags.writeable = False
    return split


# ---- Downloading it, when asked to; and making others alike


def download(directory: str | os.PathLike[str], mirror: str | None = None, *, limit: float = LIMIT) -> None:
    """Fetch the files of MNIST into `directory`, made if missing, from the URL `mirror`, else from MIRRORS.

    Each is verified by its checksum. A file already there and right is kept, a damaged one replaced. Unless all four
    are right in the end, `directory` is left exactly as it was, as it is where a sound file of another data set is.
    A mirror is given up after `limit` seconds a file. Prints a line at each step.

    DataError: no mirror sent the right file, or another data set is there. OSError: cannot write there.
    """
    directory = Path(directory)
    if not 0 < limit <= threading.TIMEOUT_MAX:
        raise ValueError(f"limit: expected a number of seconds, got {limit!r}; name one with --limit SECONDS")
    with _made(directory):
        there, contents = _sets(directory).get("", {}), {}
        wanted = [name for name in FILES if not _is_mnist(there.get(name.partition("-idx")[0]), name)]
        for name in wanted:
            contents[f"{name}.gz"] = content = _fetch(name, MIRRORS if mirror is None else [mirror], limit)
            print(f"{name}.gz: {len(content):,} bytes, verified", flush=True)
        if contents:  # where nothing is to be written, nobody need be able to write
            _put(directory, contents)


def convert(source: str | os.PathLike[str], directory: str | os.PathLike[str], *, transpose: bool = False) -> None:
    """Write the data set that `load(source, transpose=transpose)` reads into `directory`, under MNIST's names.

    DataError: there is one already, or `source` is none. OSError: cannot write there.
    """
    train, test, _ = _read_all(source, transpose)
    directory, contents = Path(directory), {}
    if "" in _sets(directory):
        raise DataError(f"{directory}: expected no data set, found one; choose another directory")
    for part, pair in (("train", train), ("t10k", test)):
        if pair is not None:
            labels = pair.labels.astype(np.uint8 if pair.labels.max() < 256 else np.int32)
            contents[f"{part}-images-idx3-ubyte"] = idx.packed(pair.images)
            contents[f"{part}-labels-idx1-ubyte"] = idx.packed(labels)
    with _made(directory):
        _put(directory, contents)


@contextlib.contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Make a directory, and take it away again if anything goes wrong."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # somebody else has put something there
                path.rmdir()
        raise


def _put(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a directory, in place of those of their names: all, or none."""
    paths = {directory / name: content for name, content in contents.items()}
    for path in paths:
        if path.exists() and not path.is_file():
            raise OSError(f"{path}: is not a file that can be replaced")
    room = Path(tempfile.mkdtemp(prefix=".", dir=directory))
    try:
        for path, content in paths.items():
            with whole(room / path.name) as part:
                part.write_bytes(content)
        with uninterrupted(), contextlib.ExitStack() as undo:
            for path in paths:
                if os.path.lexists(path):
                    os.replace(path, former := room / f"{path.name}.former")
                    undo.callback(os.replace, former, path)
                os.replace(room / path.name, path)
                undo.callback(path.unlink)
            undo.pop_all()
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _is_mnist(path: Path | None, name: str) -> bool:
    """Return whether `path` is MNIST's `name`: False if it is missing or damaged; raise if it is another data set's."""
    if path is None:
        return False
    size, digest = FILES[name]
    try:
        with idx.opened(path) as stream:
            content = stream.read(size + 1)
        if hashlib.sha256(content).hexdigest() == digest:
            print(f"{path}: already there, verified", flush=True)
            return True
        idx.verify(path, 3 if "images" in name else 1)
    except DataError:
        return False
    remedy = ", or, if it is MNIST's with wrong bytes, delete it" if len(content) == size else ""
    raise DataError(f"{path}: expected MNIST or nothing, found another data set; choose another directory{remedy}")


def _fetch(name: str, mirrors: Sequence[str], limit: float) -> bytes:
    """Return the gzipped file `name`, from the first of `mirrors` that sends the right one."""
    import http.client  # only a download waits for it: 35 ms, half as long as importing NumPy

    size, digest = FILES[name]
    faults = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        print(f"{url}: fetching", flush=True)
        try:
            content = _get(url, size + 65_536, limit)  # never more: gzip adds at most a little
            unzipped = content
            if content.startswith(idx.GZIP):
                with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                    unzipped = stream.read(size + 1)
        except (*idx.UNREADABLE, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
            faults.append(f"{url}: {error}")
            continue
        found = hashlib.sha256(unzipped).hexdigest()
        if found == digest:
            return content
        faults.append(f"{url}: expected SHA-256 {digest}, found {found}")
    raise DataError(f"{'; '.join(faults)}; check the network, or name another mirror with --mirror URL")


def _get(url: str, most: int, limit: float) -> bytes:
    """Return at most `most` bytes of what is at a URL; a TimeoutError if that takes more than `limit` seconds.

    In a thread of its own, as name servers, redirections and headers can drip too, not the content alone.
    """
    import urllib.request

    answer: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    end, late = time.monotonic() + limit, TimeoutError(f"not there after {limit:g} s")

    def get() -> None:
        content = bytearray()
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                while len(content) < most and (piece := response.read1(most - len(content))):
                    content += piece
                    if time.monotonic() > end:  # nobody waits any more
                        raise late
            answer.put(bytes(content))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=get, daemon=True).start()
    try:
        got = answer.get(timeout=limit)
    except queue.Empty:
        raise late from None
    if isinstance(got, bytes):
        return got
    try:
        raise got
    finally:
        del got  # an error that keeps this frame keeps its socket open


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 for what went wrong, 130 for Ctrl-C. Wrong usage exits with 2."""
    what = (
        "Download MNIST (four files, 12 MB) into DIR, verified. What is there already is kept; unless all goes well, "
        "DIR is left as it was."
    )
    parser = Parser("python -m tinygrad_mnist.mnist", what)
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", help="where to put the files (default: where mnist.load() looks)"
    )
    parser.add_argument("--mirror", metavar="URL", help="where to get them instead of the public mirrors")
    parser.add_argument(
        "--limit", metavar="SECONDS", type=float, default=LIMIT, help="give a mirror up after that long (default: 600)"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="download nothing, but write the data set in SOURCE into DIR, under MNIST's names; SOURCE is a directory, "
        "or one of several data sets in it, as gzip/emnist-digits",
    )
    parser.add_argument("--transpose", action="store_true", help="turn EMNIST's images upright; needs --from")

    def command() -> int:
        options = parser.parse_args(arguments)
        if (options.transpose and options.source is None) or (options.source is not None and options.directory is None):
            parser.error("--transpose needs --from SOURCE, and that needs DIR")
        where = os.path.abspath(_usual() if options.directory is None else options.directory)
        try:
            if options.source is None:
                download(where, options.mirror, limit=options.limit)
            else:
                convert(options.source, where, transpose=options.transpose)
        except (BrokenPipeError, FileNotFoundError):
            raise
        except OSError as error:
            told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise OSError(f"{told}; choose a DIR that can be written to") from None
        what = "MNIST" if options.source is None else "the data set"
        if Path(where) == _usual():
            print(f"{what} is in {where}: mnist.load() finds it")
        else:
            print(f"{what} is in {where}: set TINYGRAD_MNIST_DATA={where}, or call mnist.load({where!r})")
        return 0

    return guarded(command)


def _usual() -> Path:
    """Return where `load` finds data without being told; where there is none yet, the last place that it looks in."""
    places = _places(None)
    return next((place for place in places if _sets(place)), places[-1]).absolute()


if __name__ == "__main__":
    sys.exit(main())
