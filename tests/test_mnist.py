"""mnist.py: the real digits, small made-up sets, every fault a file can have, downloads over loopback."""

import bz2
import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import itertools
import lzma
import math
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist import mnist
from tinygrad_mnist.mnist import DataError, Split

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


def idx(array):
    """Return the bytes of an IDX file that holds `array`."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def contents(n_train=13, n_test=4, shape=(3, 2), n_classes=5, seed=0):
    """Return the uncompressed bytes of a small data set, by file name."""
    rng = np.random.default_rng(seed)
    files = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        files[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (n, *shape)))
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(n) % n_classes)
    return files


def write(directory, files):
    """Write `files` gzipped into `directory`, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.gz").write_bytes(gzip.compress(content))
    return directory


@pytest.fixture(autouse=True)
def _nothing_of_this_user(monkeypatch, tmp_path):
    """No test sees the data, cache or proxies of whoever runs it."""
    monkeypatch.delenv("TINYGRAD_MNIST_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# ---- The real digits


@pytest.fixture(scope="module")
def digits():
    return mnist.load(DATA)


def test_the_real_digits_are_split_as_in_the_book(digits):
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (50_000, 10_000, 10_000)
    assert (digits.n_classes, digits.image_shape, digits.source) == (10, (28, 28), DATA)
    assert digits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert digits.validation.labels[:5].tolist() == [3, 8, 6, 9, 6]
    assert digits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(digits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_real_digits_are_what_they_say(digits):
    for split in (digits.train, digits.validation, digits.test):
        assert split.images.shape == (len(split), 784)
        assert split.labels.shape == (len(split),)
        assert (split.images.dtype, split.labels.dtype) == (np.float32, np.int64)
        assert (split.images.min(), split.images.max()) == (0.0, 1.0)
        assert (split.labels.min(), split.labels.max()) == (0, 9)
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert not split.labels.flags.writeable
    # Measured on the original files: the mean pixel of the 60,000 training images is 33.318 of 255.
    mean = (5 * digits.train.images.mean(dtype=np.float64) + digits.validation.images.mean(dtype=np.float64)) / 6
    assert mean == pytest.approx(0.1306604762738429, abs=1e-8)


def test_the_files_are_those_that_sha256sums_names():
    lines = (DATA / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(sums) == {f"{name}.gz" for name in NAMES} == {f"{name}.gz" for name in mnist.FILES}
    for name, digest in sums.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_the_constants_and_the_readme_agree_with_the_files():
    readme = (DATA / "README.md").read_text()
    for name, (size, digest) in mnist.FILES.items():
        content = gzip.decompress((DATA / f"{name}.gz").read_bytes())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert f"| `{name}` | {size:,} | `{md5}` | `{digest}` |" in readme


# ---- Any data set in the format


@settings(deadline=None)
@given(
    n_train=st.integers(1, 20),
    n_test=st.integers(1, 5),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n_classes=st.integers(1, 256),
    gzipped=st.booleans(),
    dotted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_was_written_is_read(n_train, n_test, shape, n_classes, gzipped, dotted, seed):
    rng = np.random.default_rng(seed)
    images = {
        "train": rng.integers(0, 256, (n_train, *shape)),
        "t10k": rng.integers(0, 256, (n_test, *shape)),
    }
    labels = {"train": rng.integers(0, n_classes, n_train), "t10k": rng.integers(0, n_classes, n_test)}
    with tempfile.TemporaryDirectory() as directory:
        for part in ("train", "t10k"):
            for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
                name = f"{part}-{kind}-ubyte".replace("-idx", ".idx" if dotted else "-idx")
                content = gzip.compress(idx(array)) if gzipped else idx(array)
                Path(directory, name + ".gz" * gzipped).write_bytes(content)
        data = mnist.load(directory)
    assert data.test is not None
    n_validation = n_train // 6
    assert (len(data.train), len(data.validation)) == (n_train - n_validation, n_validation)
    assert data.image_shape == shape
    assert data.n_classes == 1 + max(labels["train"].max(), labels["t10k"].max())
    read = np.concatenate([data.train.images, data.validation.images])
    assert np.array_equal(read, images["train"].reshape(n_train, -1).astype(np.float32) / np.float32(255))
    assert np.array_equal(data.test.images * np.float32(255), images["t10k"].reshape(n_test, -1))
    assert np.array_equal(np.concatenate([data.train.labels, data.validation.labels]), labels["train"])
    assert np.array_equal(data.test.labels, labels["t10k"])


@pytest.mark.parametrize(("n", "n_validation"), [(1, 0), (5, 0), (6, 1), (59_999, 9_999), (66_000, 10_000)])
def test_the_last_sixth_validates(tmp_path, n, n_validation):
    data = mnist.load(write(tmp_path, contents(n_train=n, shape=(1, 1), n_classes=251)))
    assert (len(data.train), len(data.validation)) == (n - n_validation, n_validation)
    assert data.validation.images.shape == (n_validation, 1)
    assert data.validation.labels.tolist() == [label % 251 for label in range(n - n_validation, n)]


def test_a_class_may_be_in_the_test_set_only(tmp_path):
    assert mnist.load(write(tmp_path, contents(n_train=3, n_test=9, n_classes=9))).n_classes == 9


def test_without_test_files_there_is_no_test_set(tmp_path):
    files = contents()
    data = mnist.load(write(tmp_path, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)}))
    assert data.test is None
    assert data.n_classes == 5


def test_a_gz_file_that_was_already_unzipped_is_read_all_the_same(tmp_path):
    files = contents()
    write(tmp_path, files)
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(files[TRAIN_IMAGES])  # as some browsers save it
    assert len(mnist.load(tmp_path).train) == 11


def test_a_directory_of_the_same_name_is_passed_over_for_the_file(tmp_path):
    write(tmp_path, contents())
    (tmp_path / f"{TRAIN_IMAGES}.gz").rename(tmp_path / "train-images.idx3-ubyte.gz")
    (tmp_path / TRAIN_IMAGES).mkdir()  # as one popular archive unpacks
    assert len(mnist.load(tmp_path).train) == 11


def test_head_keeps_the_first_training_images_only(tmp_path):
    data = mnist.load(write(tmp_path, contents()))
    head = data.head(4)
    assert np.array_equal(head.train.images, data.train.images[:4])
    assert np.array_equal(head.train.labels, data.train.labels[:4])
    assert (head.validation, head.test, head.n_classes) == (data.validation, data.test, data.n_classes)
    assert len(data.train) == len(data.head(11).train) == 11


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3", None])
def test_head_refuses_what_is_no_count(tmp_path, n):
    data = mnist.load(write(tmp_path, contents()))
    with pytest.raises(ValueError, match=f"training images must be an integer of at least 1, got {n!r}"):
        data.head(n)


def test_head_refuses_more_than_there_are(tmp_path):
    data = mnist.load(write(tmp_path, contents()))
    with pytest.raises(ValueError, match=r"12 training images asked for, .* has 11; ask for fewer"):
        data.head(12)


def test_a_split_needs_as_many_labels_as_images():
    with pytest.raises(ValueError, match="one label per image, got 2 for 3"):
        Split(np.zeros((3, 4), np.float32), np.zeros(2, np.int64))


def test_a_data_set_is_shown_in_a_line(tmp_path):
    shown = repr(mnist.load(write(tmp_path, contents())))
    assert "train=Split(images=(11, 6), labels=(11,))" in shown
    assert "\n" not in shown


# ---- Where it looks


def test_a_given_path_is_the_only_place(tmp_path, monkeypatch):
    full, empty = write(tmp_path / "full", contents()), tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(full))
    with pytest.raises(FileNotFoundError) as caught:
        mnist.load(empty)
    message = str(caught.value)
    assert str(empty) in message
    assert str(full) not in message
    assert str(DATA) not in message
    assert "`python -m tinygrad_mnist.mnist DIR`" in message
    assert "\n" not in message


def test_a_path_may_be_a_string_or_in_the_home_directory(tmp_path, monkeypatch):
    write(tmp_path / "here", contents())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for path in ("~/here", str(tmp_path / "here"), tmp_path / "here"):
        assert mnist.load(path).source == tmp_path / "here"


def test_an_empty_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        mnist.load("")


def test_the_environment_variable_is_the_only_place_then(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(write(tmp_path / "mine", contents())))
    assert mnist.load().source == tmp_path / "mine"
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere \(not a directory\); "):
        mnist.load()


@pytest.mark.parametrize("unset", [None, ""])
def test_then_the_repository_then_the_cache(tmp_path, monkeypatch, unset):
    if unset is not None:
        monkeypatch.setenv("TINYGRAD_MNIST_DATA", unset)
    monkeypatch.setattr(mnist, "CHECKOUT", tmp_path / "repository")
    with pytest.raises(FileNotFoundError) as caught:
        mnist.load()
    assert str(tmp_path / "repository" / "data") in str(caught.value)
    assert str(tmp_path / "cache" / "tinygrad_mnist") in str(caught.value)
    cached = write(tmp_path / "cache" / "tinygrad_mnist", contents())
    assert mnist.load().source == cached
    own = write(tmp_path / "repository" / "data", contents())
    assert mnist.load().source == own


def test_the_cache_is_in_the_home_directory_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(mnist, "CHECKOUT", None)
    cached = write(tmp_path / ".cache" / "tinygrad_mnist", contents())
    assert mnist.load().source == cached


def run(*arguments, cwd, **options):
    """Run Python in `cwd` on this repository's package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.slow
def test_it_is_found_from_every_directory(tmp_path):
    done = run("-c", "from tinygrad_mnist import mnist; print(mnist.load().source)", cwd=tmp_path)
    assert (done.stdout.strip(), done.stderr) == (str(DATA), "")


# ---- What can be wrong with a file


def cut(content):
    return content[:-1]


def lengthened(content):
    return content + b"\0"


def claiming(*shape):
    """Make a fault: the header claims another shape, the length is as it was."""
    return lambda content: content[:4] + struct.pack(f">{len(shape)}I", *shape) + content[4 + 4 * len(shape) :]


FAULTS = [
    (TRAIN_IMAGES, cut, "expected 94 bytes, as its header says 13 x 3 x 2, found 93 bytes"),
    (TRAIN_LABELS, cut, "expected 21 bytes, as its header says 13, found 20 bytes"),
    (TEST_IMAGES, lengthened, "expected 40 bytes, as its header says 4 x 3 x 2, found 41 bytes"),
    (TEST_LABELS, lengthened, "expected 12 bytes, as its header says 4, found 13 bytes"),
    (TRAIN_IMAGES, lambda _: b"", "expected a header of 16 bytes, found 0 bytes in all"),
    (TEST_LABELS, lambda content: content[:7], "expected a header of 8 bytes, found 7 bytes in all"),
    (
        TRAIN_IMAGES,
        lambda content: idx(np.zeros(99)),
        "expected the magic number 0x00000803, found 0x00000801",
    ),
    (TRAIN_LABELS, lambda content: idx(np.zeros((9, 1, 1))), "number 0x00000801, found 0x00000803"),
    (TEST_IMAGES, lambda content: b"<html>" * 9, "expected the magic number 0x00000803, found 0x3c68746d"),
    (TEST_IMAGES, lambda content: content[3::-1] + content[4:], "expected the magic .*, found 0x03080000"),
    (TRAIN_IMAGES, claiming(14, 3, 2), "expected 100 bytes, as its header says 14 x 3 x 2, found 94 bytes"),
    (TRAIN_IMAGES, claiming(*[2**32 - 1] * 3), "expected 79228162.* bytes, .*, found 94 bytes"),
    (TRAIN_LABELS, claiming(2**32 - 1), "expected 4294967303 bytes, as its .*, found 21 bytes"),
    (TRAIN_IMAGES, lambda content: idx(np.zeros((0, 3, 2))), "at least one value, found .* 0 x 3 x 2"),
    (TEST_IMAGES, lambda content: idx(np.zeros((4, 0, 2))), "at least one value, found .* 4 x 0 x 2"),
    (
        TEST_LABELS,
        lambda content: idx(np.zeros(0)),
        "expected at least one value, found a header that says 0",
    ),
    (
        TRAIN_LABELS,
        lambda content: idx(np.zeros(12)),
        f"13 labels, one per image of {TRAIN_IMAGES}.gz, found 12",
    ),
    (TEST_LABELS, lambda content: idx(np.zeros(5)), f"4 labels, one per image of {TEST_IMAGES}.gz, found 5"),
]


@pytest.mark.parametrize(("name", "fault", "message"), FAULTS)
def test_a_file_with_a_fault_is_named(tmp_path, name, fault, message):
    files = contents()
    write(tmp_path, files | {name: fault(files[name])})
    assert_refused(tmp_path, f"{name}.gz: ", message)


def assert_refused(directory, *parts):
    """Check that loading `directory` is a one-line DataError that matches `parts` and has a remedy."""
    with pytest.raises(DataError) as caught:
        mnist.load(directory)
    message = str(caught.value)
    for part in (str(directory), *parts):
        assert re.search(part, message), (part, message)
    assert "\n" not in message
    assert message.endswith(mnist.REMEDY)


GZIP_FAULTS = [
    ("truncated", lambda zipped: zipped[: len(zipped) // 2]),
    ("without its checksum", lambda zipped: zipped[:-8]),
    ("with a wrong checksum", lambda zipped: zipped[:-8] + b"\0" * 8),
    ("with a bad block", lambda zipped: zipped[:10] + b"\xff" * 20 + zipped[30:]),
    ("only its magic", lambda zipped: zipped[:2]),
    ("trailed by rubbish", lambda zipped: zipped + b"rubbish"),
    ("of an unknown method", lambda zipped: zipped[:2] + b"\x09" + zipped[3:]),
]


@pytest.mark.parametrize("fault", [fault for _, fault in GZIP_FAULTS], ids=[name for name, _ in GZIP_FAULTS])
def test_a_broken_gzip_file_is_named(tmp_path, fault):
    write(tmp_path, contents())
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    path.write_bytes(fault(path.read_bytes()))
    assert_refused(tmp_path, f"{TRAIN_LABELS}.gz: expected a whole file that can be read, found ")


def test_a_directory_in_place_of_a_file_is_named(tmp_path):
    write(tmp_path, contents())
    (tmp_path / f"{TEST_IMAGES}.gz").unlink()
    (tmp_path / f"{TEST_IMAGES}.gz").mkdir()
    assert_refused(tmp_path, f"{TEST_IMAGES}.gz: expected a whole file that can be read, found ")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, contents())

    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert_refused(tmp_path, f"{TRAIN_IMAGES}.gz: expected a whole file that can be read, found .*Permission denied")


def test_images_of_two_sizes_are_refused(tmp_path):
    write(tmp_path, contents() | {TEST_IMAGES: idx(np.zeros((4, 2, 3)))})
    assert_refused(tmp_path, r"expected test images of \(3, 2\), as for training, found \(2, 3\)")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_its_other_half_is_an_error(tmp_path, name):
    write(tmp_path, contents())
    (tmp_path / f"{name}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^{re.escape(str(tmp_path))}: .*, {name} is missing; .*DIR"):
        mnist.load(tmp_path)


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no train-images-idx3-ubyte, .*file \(not a directory\); "):
        mnist.load(path)


# ---- What else people have


def typed(code, array):
    """Return the bytes of an IDX file with values of another type than bytes."""
    types = {0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
    header = struct.pack(f">{1 + array.ndim}I", code << 8 | array.ndim, *array.shape)
    return header + array.astype(types[code]).tobytes()


def qmnist_labels(labels):
    """Return the bytes of a label file of QMNIST: class, hsf series, writer, index of the digit, NIST class, ..."""
    more = np.random.default_rng(0).integers(0, 60_000, (len(labels), 8))
    return typed(0x0C, np.column_stack([labels, more[:, 1:]]))


def test_the_files_of_qmnist_are_read(tmp_path):
    files = contents()
    write(
        tmp_path,
        {
            "qmnist-train-images-idx3-ubyte": files[TRAIN_IMAGES],
            "qmnist-train-labels-idx2-int": qmnist_labels(np.arange(13) % 5),
            "qmnist-test-images-idx3-ubyte": files[TEST_IMAGES],
            "qmnist-test-labels-idx2-int": qmnist_labels(np.arange(4) % 5),
        },
    )
    assert_same(mnist.load(tmp_path), mnist.load(write(tmp_path / "as bytes", files)))
    assert (tmp_path / "qmnist-train-labels-idx2-int.gz").exists()


def assert_same(one, other):
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(one, name).images, getattr(other, name).images)
        assert np.array_equal(getattr(one, name).labels, getattr(other, name).labels)
    assert (one.n_classes, one.image_shape) == (other.n_classes, other.image_shape)


@pytest.mark.parametrize("code", [0x09, 0x0B, 0x0C, 0x0D, 0x0E])
@pytest.mark.parametrize("columns", [0, 1])
def test_labels_may_be_of_any_type(tmp_path, code, columns):
    files = contents()
    labels = np.arange(13) % 5
    same = write(tmp_path / "typed", files | {TRAIN_LABELS: typed(code, labels[:, None] if columns else labels)})
    assert_same(mnist.load(same), mnist.load(write(tmp_path / "bytes", files)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (typed(0x0C, np.where(np.arange(13) == 6, -1, 2)), "labels of 0 to 4095, found -1 for image 6"),
        (typed(0x09, np.where(np.arange(13) == 0, -128, 2)), "labels of 0 to 4095, found -128 for image 0"),
        (typed(0x0C, np.arange(13) * 10**8), "labels of 0 to 4095, found 100000000 for image 1"),
        (typed(0x0D, np.arange(13) / 2), "labels of 0 to 4095, found 0.5 for image 1"),
        (typed(0x0E, np.where(np.arange(13) == 12, np.nan, 2)), "labels of 0 to 4095, found nan for image 12"),
        (typed(0x0D, np.full(13, np.inf)), "labels of 0 to 4095, found inf for image 0"),
        (idx(np.eye(13)), r"expected a label for each image, or QMNIST's 8 numbers .*, found \(13, 13\)"),
        (idx(np.zeros((13, 8))), r"expected a label for each image, or QMNIST's 8 numbers .*, found \(13, 8\)"),
        (typed(0x0C, np.zeros((13, 7))), r"QMNIST's 8 numbers .*, found \(13, 7\)"),
    ],
)
def test_labels_of_a_file_that_are_none_are_named(tmp_path, labels, message):
    write(tmp_path, contents() | {TRAIN_LABELS: labels})
    assert_refused(tmp_path, f"{TRAIN_LABELS}.gz: expected ", message)


EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")


def emnist(directory):
    """Write several data sets into one directory, as EMNIST's archive has them."""
    for seed, name in enumerate(EMNIST):
        for file, content in contents(seed=seed).items():
            spelled = f"emnist-{name}-{file.replace('t10k', 'test')}.gz"
            directory.mkdir(exist_ok=True)
            (directory / spelled).write_bytes(gzip.compress(content))
    return directory


def test_one_of_the_data_sets_of_a_directory_is_named_by_what_its_files_begin_with(tmp_path, monkeypatch):
    directory = emnist(tmp_path / "gzip")
    for seed, name in enumerate(EMNIST):
        data = mnist.load(directory / f"emnist-{name}")
        assert data.source == directory / f"emnist-{name}"
        assert_same(data, mnist.load(write(tmp_path / name, contents(seed=seed))))
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(directory / "emnist-letters"))
    assert mnist.load().source.name == "emnist-letters"


def test_several_data_sets_in_a_directory_are_listed(tmp_path):
    with pytest.raises(
        DataError, match=r"expected one data set, found 6, emnist-balanced, .*, emnist-mnist; "
    ) as caught:
        mnist.load(emnist(tmp_path))
    assert str(caught.value).endswith(f"name one, as {tmp_path / 'emnist-balanced'}")


def test_one_data_set_with_a_name_needs_no_naming_and_mnists_own_names_go_first(tmp_path):
    for file, content in contents(seed=1).items():
        (tmp_path / f"kmnist_{file}").write_bytes(content)
    (tmp_path / "._train-images-idx3-ubyte").write_bytes(b"what a Mac leaves")
    assert_same(mnist.load(tmp_path), mnist.load(tmp_path / "kmnist"))
    write(tmp_path, contents(seed=2))
    assert_same(mnist.load(tmp_path), mnist.load(write(tmp_path / "other", contents(seed=2))))


@pytest.mark.parametrize("name", ["emnist", "emnist-nothing", "emnist-digits-train", ""])
def test_a_data_set_that_is_not_there_is_an_error(tmp_path, name):
    directory = emnist(tmp_path / "gzip")
    with pytest.raises((DataError, FileNotFoundError), match=r"no train-images|expected one data set"):
        mnist.load(directory / name)


def test_a_half_of_a_data_set_with_a_name_is_named_so(tmp_path):
    directory = emnist(tmp_path / "gzip")
    (directory / "emnist-digits-test-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="emnist-digits-test-labels-idx1-ubyte is missing; fetch it again"):
        mnist.load(directory / "emnist-digits")


def test_transposed_images_are_turned_upright(tmp_path):
    files = contents(shape=(3, 2))
    lying = {
        name: idx(upright(content).transpose(0, 2, 1)) if "images" in name else content
        for name, content in files.items()
    }
    write(tmp_path / "lying", lying)
    assert_same(mnist.load(tmp_path / "lying", transpose=True), mnist.load(write(tmp_path / "upright", files)))
    assert mnist.load(tmp_path / "lying").image_shape == (2, 3)


def upright(content):
    shape = struct.unpack(">3I", content[4:16])
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def with_pixels(directory, make, code=None, top=255):
    """Write a data set whose pixels are made of whole numbers from 0 to `top`; returns it and those."""
    rng = np.random.default_rng(0)
    pixels = {"train": rng.integers(0, top + 1, (30, 3, 3)), "t10k": rng.integers(0, top + 1, (6, 3, 3))}
    pixels["train"][0, 0, 0] = top
    files = contents(n_train=30, n_test=6)
    for part, array in pixels.items():
        files[f"{part}-images-idx3-ubyte"] = idx(array) if code is None else typed(code, make(array))
    return mnist.load(write(directory, files)), pixels["train"].reshape(30, 9)


@pytest.mark.parametrize("code", [None, 0x0B, 0x0C, 0x0D, 0x0E])
@pytest.mark.parametrize(("top", "white"), [(1, 1), (2, 16), (15, 16), (16, 16), (17, 255), (254, 255), (255, 255)])
def test_pixels_up_to_1_16_or_255_become_1(tmp_path, code, top, white):
    data, pixels = with_pixels(tmp_path, lambda array: array, code, top)
    assert np.array_equal(np.concatenate([data.train.images, data.validation.images]), (pixels / white).astype("f"))
    assert data.train.images.dtype == np.float32


@pytest.mark.parametrize("code", [0x0D, 0x0E])
def test_pixels_that_are_fractions_of_1_stay(tmp_path, code):
    data, pixels = with_pixels(tmp_path, lambda array: array / 255 * 0.9, code)
    read = np.concatenate([data.train.images, data.validation.images])
    np.testing.assert_allclose(read, pixels / 255 * 0.9, rtol=1e-6)


def test_pixels_of_16_bits_become_1(tmp_path):
    data, _ = with_pixels(tmp_path, lambda array: array * 257, 0x0C)
    assert data.train.images.max() == 1


def test_the_test_images_are_scaled_as_the_training_images(tmp_path):
    files = contents(n_train=30, n_test=6, shape=(3, 3))
    files[TEST_IMAGES] = idx(np.full((6, 3, 3), 9))
    test = mnist.load(write(tmp_path, files)).test
    assert test is not None
    assert test.images.max() == np.float32(9) / np.float32(255)


@pytest.mark.parametrize(
    ("value", "found"),
    [(np.nan, "nan"), (np.inf, "inf"), (-0.4, "-0.4"), (7e4, "70000.0")],
)
def test_pixels_of_a_file_that_are_none_are_named(tmp_path, value, found):
    pixels = np.zeros((13, 3, 2))
    pixels[7, 2, 1] = value
    write(tmp_path, contents() | {TRAIN_IMAGES: typed(0x0E, pixels)})
    assert_refused(tmp_path, f"{TRAIN_IMAGES}.gz: expected pixels from 0 ", f"{found} in image 7, row 2, column 1")


def test_pixels_a_little_above_1_are_not_guessed_at(tmp_path):
    write(
        tmp_path,
        contents() | {TRAIN_IMAGES: typed(0x0D, np.full((13, 3, 2), 1.5)), TEST_IMAGES: idx(np.ones((4, 3, 2)))},
    )
    assert_refused(tmp_path, "expected pixels up to one of .*, found 1.5 as the largest")


OTHER_FILES = [
    (lambda content: gzip.compress(gzip.compress(content)), "a file that was gzipped twice: gunzip it once"),
    (lambda content: b"\n<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>", "a web page"),
    (lambda content: b"\xef\xbb\xbf<html lang='en'>\xc3\xa4</html>", "a web page"),
    (lambda content: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    (lambda content: b"PK\3\4" + bytes(99), "a ZIP archive: unpack it"),
    (lzma.compress, "an xz file: unpack it"),
    (bz2.compress, "a bzip2 file: unpack it"),
    (lambda content: b"\x93NUMPY\1\0" + content, "a .npy file"),
    (lambda content: tarred(content), "a tar archive: unpack it"),
    (lambda content: pickle.dumps([content]), "a pickle"),
    (lambda content: b"label,pixel0,pixel1\n5,0,0\n", "text that begins with 'label,pixel0,pixel1 5,0,0'"),
    (lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "text .*'version https://git-lfs"),
    (lambda content: b"Not Found", "text that begins with 'Not Found'"),
]


def tarred(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("train-images-idx3-ubyte")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TEST_LABELS])
@pytest.mark.parametrize(("make", "what"), OTHER_FILES)
def test_what_is_no_data_is_called_what_it_is(tmp_path, make, what, name, gzipped):
    files = contents()
    write(tmp_path, files)
    content = make(files[name])
    if content.startswith(b"\x1f\x8b"):
        gzipped = False  # it is already, once
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content) if gzipped else content)
    assert_refused(tmp_path, f"{name}.gz: expected ", f", found .*, {what}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    write(tmp_path, contents())
    (tmp_path / f"{TEST_LABELS}.gz").unlink()
    os.mkfifo(tmp_path / f"{TEST_LABELS}.gz")
    assert_refused(tmp_path, f"{TEST_LABELS}.gz: expected a whole file that can be read, found something other than a")


# ---- Files sorted by class


def sorted_files(directory, labels):
    """Write a data set with these labels, whose images say which they are."""
    n = len(labels)
    numbers = np.arange(n)
    images = np.stack([numbers // 250, numbers % 250, np.full(n, 255)], axis=1)[:, None, :]
    write(directory, {TRAIN_IMAGES: idx(images), TRAIN_LABELS: idx(np.asarray(labels))})
    data = mnist.load(directory)
    splits = [np.rint(split.images @ [250 * 255, 255, 0]).astype(int) for split in (data.train, data.validation)]
    for numbers_of_split, split in zip(splits, (data.train, data.validation), strict=True):
        assert np.array_equal(np.asarray(labels)[numbers_of_split], split.labels)
    assert sorted(np.concatenate(splits)) == list(range(n))
    return data


@pytest.mark.parametrize(
    "labels",
    [
        np.repeat(np.arange(10), 6),
        np.repeat(np.arange(10)[::-1], 600),
        np.repeat([3, 1, 0, 2], 50),
        np.repeat([0, 1], 60),  # all are trained on as they stand, but one alone would validate
        np.repeat([0, 1, 2, 3], [500, 20, 300, 3]),
        np.tile(np.repeat(np.arange(5), 40), 3),  # several sorted files, one after the other
        np.concatenate([np.arange(600) % 4, np.full(100, 4), np.full(100, 5)]),  # classes that were added later
        np.repeat([0, 1, 2], 4),
    ],
)
def test_files_sorted_by_class_are_split_so_that_both_parts_have_all(tmp_path, labels):
    data = sorted_files(tmp_path, labels)
    assert len(data.validation) == len(labels) // 6
    classes, counts = np.unique(labels, return_counts=True)
    assert set(data.train.labels) == set(classes)
    if len(data.validation) >= len(classes):
        assert set(data.validation.labels) == set(classes)
    for label, count in zip(classes, counts, strict=True):
        assert abs(np.count_nonzero(data.validation.labels == label) - count / 6) <= 2
    if len(labels) >= 60:
        assert set(data.head(len(labels) // 2).train.labels) == set(classes)


def test_a_class_of_one_image_is_trained_on(tmp_path):
    data = sorted_files(tmp_path, np.repeat([0, 1, 2], [30, 29, 1]))
    assert set(data.train.labels) == {0, 1, 2}
    assert set(data.validation.labels) == {0, 1}


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(60) % 10,
        np.random.default_rng(0).integers(0, 10, 60),
        np.repeat(np.arange(30), 1),
        np.zeros(60, int),
        np.append(np.random.default_rng(1).integers(0, 3, 59), 3),
        np.repeat(np.tile([0, 1, 2], 40), 3),  # in threes, but no class is missing anywhere
    ],
)
def test_other_files_keep_their_order(tmp_path, labels):
    data = sorted_files(tmp_path, labels)
    assert np.array_equal(np.concatenate([data.train.labels, data.validation.labels]), labels)


# ---- Files made to harm


def peak_of(function):
    """Return what the function raised, and how many bytes more than before there were at most."""
    tracemalloc.start()
    try:
        with pytest.raises((DataError, FileNotFoundError)) as caught:
            function()
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_behind_an_honest_header_is_not_unzipped_to_its_end(tmp_path, name):
    files = contents()
    write(tmp_path, files | {name: files[name] + bytes(50_000_000)})
    message, peak = peak_of(lambda: mnist.load(tmp_path))
    assert re.search(rf"{name}.gz: expected {len(files[name])} bytes, .*, found at least \d+ bytes", message)
    assert peak < 4_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_claims_much_is_believed_only_as_far_as_there_is_data(tmp_path, name):
    files = contents()
    dims = 3 if "images" in name else 1
    for shape in ([2**32 - 1] * dims, [10**9] + [1] * (dims - 1)):
        write(tmp_path, files | {name: claiming(*shape)(files[name])})
        message, peak = peak_of(lambda: mnist.load(tmp_path))
        assert f"{name}.gz: expected {math.prod(shape) + 4 + 4 * dims} bytes" in message
        assert peak < 4_000_000


def test_a_bomb_that_claims_even_more_is_not_kept(tmp_path):
    bomb = struct.pack(">4I", 0x0803, 13, 2**20, 2**20) + bytes(50_000_000)
    write(tmp_path, contents() | {TRAIN_IMAGES: bomb})
    message, peak = peak_of(lambda: mnist.load(tmp_path))
    assert f"expected {13 * 2**40 + 16} bytes, as its header says 13 x 1048576 x 1048576, found 50000016 by" in message
    assert peak < 5_000_000


def test_a_bomb_that_claims_what_it_holds_is_not_read_for_labels_that_are_fewer(tmp_path):
    bomb = struct.pack(">4I", 0x0803, 50_000, 20, 50) + bytes(50_000_000)
    write(tmp_path, contents() | {TRAIN_IMAGES: bomb})
    message, peak = peak_of(lambda: mnist.load(tmp_path))
    assert f"expected 50000 labels, one per image of {TRAIN_IMAGES}.gz, found 13" in message
    assert peak < 5_000_000


def spoil(content, others, rng):
    """Return a file with a fault drawn at random, mostly where it hurts: in the first bytes."""
    place = int(rng.integers(min(len(content), 20 if rng.random() < 0.7 else len(content))))
    word = struct.pack(">I", int(rng.choice([0, 1, 2, 7, 13, 2**16, 2**31, 2**32 - 1, rng.integers(2**32)])))
    faults = [
        lambda: content[:place] + bytes([rng.integers(256)]) + content[place + 1 :],
        lambda: content[:place],
        lambda: content[place:],
        lambda: content[: place // 4 * 4] + word + content[place // 4 * 4 + 4 :],
        lambda: content[:2] + bytes([rng.integers(16), rng.integers(5)]) + content[4:],
        lambda: content + bytes(int(rng.integers(1, 300_000))),
        lambda: rng.bytes(int(rng.integers(300))),
        lambda: others[int(rng.integers(len(others)))],
        lambda: gzip.compress(content),
        lambda: typed(
            int(rng.choice([9, 11, 12, 13, 14])), rng.normal(0, 300, rng.integers(1, 14, rng.integers(1, 4)))
        ),
    ]
    return faults[int(rng.integers(len(faults)))]()


def attempt(directory):
    """Load a directory: None if that went well, else what was said."""
    try:
        data = mnist.load(directory)
    except (DataError, FileNotFoundError) as error:
        return str(error)
    assert 0 <= data.train.images.min() <= data.train.images.max() <= 1
    return None


@pytest.mark.parametrize("many", [150, pytest.param(300, marks=pytest.mark.slow)])
def test_spoilt_files_are_refused_in_a_line_or_read(tmp_path, many):
    rng, said = np.random.default_rng(0), []
    for _ in range(many):
        files = contents(seed=int(rng.integers(9)))
        name = NAMES[int(rng.integers(4))]
        content = spoil(files[name], list(files.values()), rng)
        zipped = gzip.compress(content, 1)
        if rng.random() < 0.3:
            zipped = spoil(zipped, [content], rng)
        write(tmp_path, files)
        (tmp_path / f"{name}.gz").write_bytes(zipped)
        tracemalloc.start()
        said.append(attempt(tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000
    messages = [message for message in said if message is not None]
    assert many * 2 // 3 < len(messages) < many
    for message in messages:
        assert message.startswith(str(tmp_path))
        assert "\n" not in message


# ---- Batches


def numbered(n):
    """Make a split whose images say which they are."""
    return Split(np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, axis=1), np.arange(n))


@pytest.mark.parametrize(("n", "size"), [(10, 1), (10, 3), (10, 5), (10, 10), (10, 99), (1, 1), (0, 4)])
@pytest.mark.parametrize("seed", [None, 0])
def test_an_epoch_has_each_example_once(n, size, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    epoch = list(mnist.batches(numbered(n), size, rng))
    assert [len(labels) for _, labels in epoch] == [size] * (n // size) + [n % size] * (n % size > 0)
    assert sorted(label for _, labels in epoch for label in labels) == list(range(n))
    for images, labels in epoch:
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert np.array_equal(images, np.repeat(labels[:, None], 3, axis=1))


def order(seed, n=50, epochs=1):
    rng = np.random.default_rng(seed)
    return [
        label for _ in range(epochs) for _, labels in mnist.batches(numbered(n), 7, rng) for label in labels.tolist()
    ]


def test_one_seed_gives_one_order():
    assert order(3) == order(3) == np.random.default_rng(3).permutation(50).tolist()
    assert order(3) != order(4)
    assert order(3) != sorted(order(3))
    twice = order(3, epochs=2)
    assert twice[:50] != twice[50:]


def test_without_a_generator_the_order_is_kept():
    assert [labels.tolist() for _, labels in mnist.batches(numbered(5), 2)] == [[0, 1], [2, 3], [4]]


def test_the_order_is_drawn_at_the_call():
    rng = np.random.default_rng(0)
    first, second = mnist.batches(numbered(20), 20, rng), mnist.batches(numbered(20), 20, rng)
    drawn = np.random.default_rng(0)
    expected = [drawn.permutation(20), drawn.permutation(20)]
    assert np.array_equal(next(second)[1], expected[1])
    assert np.array_equal(next(first)[1], expected[0])


@pytest.mark.parametrize("seed", [None, 0])
def test_the_callers_arrays_stay_as_they_are(seed):
    split = numbered(9)
    for images, labels in mnist.batches(split, 4, None if seed is None else np.random.default_rng(seed)):
        images += 1
        labels += 1
    assert np.array_equal(split.images, numbered(9).images)
    assert np.array_equal(split.labels, np.arange(9))


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
def test_a_batch_size_that_is_none_is_refused_at_the_call(size):
    with pytest.raises(ValueError, match=f"batch_size must be an integer of at least 1, got {size!r}"):
        mnist.batches(numbered(3), size)


def test_a_seed_is_no_generator():
    with pytest.raises(TypeError, match=r"such as numpy.random.default_rng\(0\), got 7"):
        mnist.batches(numbered(3), 1, 7)  # type: ignore[arg-type]


# ---- Downloading


@contextlib.contextmanager
def serving(answers):
    """Serve `answers`, by path (status, body, claimed length), on loopback; yields the URL and the log."""
    log = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            log.append(self.path)
            status, body, length = answers.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            if status == 302:
                self.send_header("Location", self.path)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have read enough
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # so that closing it waits for all of them
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def mirror_of(files, prefix="/"):
    """Return the answers of a mirror that is all right."""
    zipped = {name: gzip.compress(content) for name, content in files.items()}
    return {f"{prefix}{name}.gz": (200, body, len(body)) for name, body in zipped.items()}


@pytest.fixture
def files(monkeypatch):
    """Make a small data set, which for the time of a test is MNIST."""
    files = contents()
    sums = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    monkeypatch.setattr(mnist, "FILES", sums)
    return files


def listing(directory):
    return sorted(path.name for path in directory.iterdir())


WHOLE = sorted(f"{name}.gz" for name in NAMES)


def test_a_download_can_be_loaded(tmp_path, files, capsys):
    directory = tmp_path / "new" / "directory"
    with serving(mirror_of(files, "/deep/")) as (url, log):
        assert mnist.main([str(directory), "--mirror", f"{url}/deep/"]) == 0
    assert log == [f"/deep/{name}.gz" for name in NAMES]
    assert listing(directory) == WHOLE
    assert len(mnist.load(directory).train) == 11
    output = capsys.readouterr()
    assert f"mnist.load({str(directory)!r})" in output.out.splitlines()[-1]
    assert output.err == ""


def test_a_downloaded_file_may_be_read_by_whoever_may_read_others(tmp_path, files):
    with serving(mirror_of(files)) as (url, _):
        mnist.download(tmp_path, url)
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / f"{TRAIN_IMAGES}.gz").stat().st_mode == (tmp_path / "other").stat().st_mode


@contextlib.contextmanager
def unwritable():
    """Nothing can be written, as where a checkout is somebody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", lambda **about: (_ for _ in ()).throw(PermissionError(13, "denied")))
        yield


@pytest.mark.parametrize("ending", [".gz", ""])
def test_what_is_there_and_right_is_not_fetched_again(tmp_path, files, ending, capsys):
    for name, content in files.items():
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(content) if ending else content)
    with serving(mirror_of(files)) as (url, log), unwritable():
        mnist.download(tmp_path, url)
    assert log == []
    assert listing(tmp_path) == sorted(f"{name}{ending}" for name in NAMES)
    assert capsys.readouterr().out.count("already there, verified\n") == 4


@pytest.mark.parametrize("damage", [lambda zipped: zipped[:20], lambda zipped: b"", lambda zipped: b"x" * 99])
def test_a_damaged_file_is_replaced(tmp_path, files, damage):
    write(tmp_path, files)
    path = tmp_path / f"{TEST_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with serving(mirror_of(files)) as (url, log):
        mnist.download(tmp_path, url)
    assert log == [f"/{TEST_IMAGES}.gz"]
    assert gzip.decompress(path.read_bytes()) == files[TEST_IMAGES]
    assert listing(tmp_path) == WHOLE


def test_a_damaged_file_that_is_not_gzipped_is_mended_too(tmp_path, files):
    write(tmp_path, files)
    (tmp_path / f"{TRAIN_LABELS}.gz").unlink()
    (tmp_path / TRAIN_LABELS).write_bytes(cut(files[TRAIN_LABELS]))
    with serving(mirror_of(files)) as (url, _):
        mnist.download(tmp_path, url)
    assert len(mnist.load(tmp_path).train) == 11


def test_another_data_set_is_never_overwritten(tmp_path, files, capsys):
    write(tmp_path, contents(seed=1))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with serving(mirror_of(files)) as (url, log):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert log == []
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "expected MNIST or nothing, found another data set; choose another directory" in capsys.readouterr().err


def test_the_next_mirror_is_tried(tmp_path, files, monkeypatch):
    answers = mirror_of(files, "/good/")
    answers[f"/bad/{TRAIN_IMAGES}.gz"] = answers[f"/good/{TRAIN_LABELS}.gz"]
    with serving(answers) as (url, log):
        monkeypatch.setattr(mnist, "MIRRORS", (f"{url}/bad", f"{url}/good"))
        mnist.download(tmp_path)
    assert log == [f"/{mirror}/{name}.gz" for name in NAMES for mirror in ("bad", "good")]
    assert listing(tmp_path) == WHOLE


def faulty(fault, files):
    """Return the answer of a mirror with a fault: status, body, claimed length."""
    body = gzip.compress(files[TEST_IMAGES])
    wrong = gzip.compress(lengthened(files[TEST_IMAGES]))
    return {
        "not found": (404, b"", 0),
        "going in circles": (302, b"", 0),
        "gone wrong": (500, body, len(body)),
        "wrong checksum": (200, wrong, len(wrong)),
        "short": (200, body[:30], len(body)),
        "truncated": (200, body[:30], 30),
        "empty": (200, b"", 0),
        "a page": (200, b"<html>log in</html>", 19),
    }[fault]


DOWNLOAD_FAULTS = {
    "not found": "404",
    "going in circles": "redirect",
    "gone wrong": "500",
    "wrong checksum": "expected SHA-256 .*, found ",
    "short": "ended|incomplete|IncompleteRead",
    "truncated": "ended",
    "empty": "expected SHA-256 .*, found ",
    "a page": "expected SHA-256 .*, found ",
}


@pytest.mark.parametrize("fault", DOWNLOAD_FAULTS)
def test_a_download_that_fails_leaves_nothing(tmp_path, files, fault, capsys):
    answers = mirror_of(files)
    answers[f"/{TEST_IMAGES}.gz"] = faulty(fault, files)
    with serving(answers) as (url, _):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert listing(tmp_path) == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(
        f"error: {url}/{TEST_IMAGES}.gz: .*({DOWNLOAD_FAULTS[fault]}).*; check the network, or name ", error
    )


def test_a_bomb_is_not_unzipped_to_its_end(tmp_path, files):
    bomb = gzip.compress(bytes(20_000_000))
    with serving({f"/{TRAIN_IMAGES}.gz": (200, bomb, len(bomb))}) as (url, _):
        tracemalloc.start()
        with pytest.raises(DataError, match="expected SHA-256"):
            mnist.download(tmp_path, url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000


def test_a_flood_is_not_read_to_its_end(tmp_path, files):
    flood = iter([bytes(2**20)] * 1000)
    with serving({f"/{TRAIN_IMAGES}.gz": (200, flood, 1000 * 2**20)}) as (url, _), pytest.raises(DataError):
        mnist.download(tmp_path, url)
    assert len(list(flood)) > 0  # the server was cut off before it had sent it all


def test_a_failed_download_leaves_the_damaged_file_as_it_was(tmp_path, files):
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(b"damaged")
    with serving({}) as (url, _), pytest.raises(DataError, match="404"):
        mnist.download(tmp_path, url)
    assert (tmp_path / f"{TRAIN_IMAGES}.gz").read_bytes() == b"damaged"


def test_no_network_is_said_in_a_line(tmp_path, files, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound, but nobody listens
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert re.match(r"error: \S+: .*refused.*; check the network, .*\n\Z", capsys.readouterr().err)


def test_a_mirror_that_says_nothing_is_given_up(tmp_path, files, monkeypatch, capsys):
    monkeypatch.setattr(mnist, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert re.match(r"error: \S+: .*timed out.*; check the network, .*\n\Z", capsys.readouterr().err)


@pytest.mark.parametrize("url", ["nonsense", "", "http://127.0.0.1:port", "http://[", "odd://host", "http://a b"])
def test_what_is_no_url_is_said_in_a_line(tmp_path, files, url, capsys):
    assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert re.match(r"error: .+; check the network, .*\n\Z", capsys.readouterr().err)


def test_a_full_disk_leaves_nothing(tmp_path, files, monkeypatch, capsys):
    whole = Path.write_bytes

    def fill_up(path, content):
        whole(path, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with serving(mirror_of(files)) as (url, _):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert listing(tmp_path) == []
    assert capsys.readouterr().err.endswith("No space left on device; choose a DIR that can be written to\n")


def test_ctrl_c_while_writing_leaves_nothing(tmp_path, files, monkeypatch):
    def interrupt(*_):
        assert len(listing(tmp_path)) == 1  # the temporary file
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with serving(mirror_of(files)) as (url, _):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 130
    assert listing(tmp_path) == []


def test_a_place_that_cannot_be_written_to_is_said_in_a_line(tmp_path, files, capsys):
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        assert mnist.main([str(directory)]) == 1
        error = capsys.readouterr().err
        assert str(tmp_path / "file") in error
        assert error.endswith("; choose a DIR that can be written to\n")
        assert error.count("\n") == 1


def snapshot(directory):
    """Return all that is in a directory: names, whether they are directories, contents."""
    return {path.relative_to(directory): path.is_file() and path.read_bytes() for path in directory.rglob("*")}


@pytest.mark.parametrize("foreign", NAMES)
@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_of_another_data_set_means_that_nothing_is_fetched(tmp_path, files, foreign, same_size, capsys):
    other = contents(seed=1) if same_size else contents(n_train=7, n_test=2)
    other |= {name: content[:8] + bytes([4]) + content[9:] for name, content in other.items() if "labels" in name}
    write(tmp_path, {foreign: other[foreign]})
    (tmp_path / "notes").write_text("mine")
    before = snapshot(tmp_path)
    with serving(mirror_of(files)) as (url, log):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert log == []
    assert snapshot(tmp_path) == before
    error = capsys.readouterr().err
    assert f"{foreign}.gz: expected MNIST or nothing, found another data set; choose another directory" in error
    assert ("or, if it is MNIST's with wrong bytes, delete it" in error) is same_size


def test_a_damaged_file_beside_those_of_another_data_set_is_not_replaced_by_mnists(tmp_path, files):
    write(tmp_path, contents(seed=1))
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(b"damaged")
    before = snapshot(tmp_path)
    with serving(mirror_of(files)) as (url, log), pytest.raises(DataError, match="another data set"):
        mnist.download(tmp_path, url)
    assert log == []
    assert snapshot(tmp_path) == before


def test_right_size_and_wrong_bytes_are_noticed(tmp_path, files, capsys):
    wrong = files | {TEST_IMAGES: files[TEST_IMAGES][:-1] + bytes([files[TEST_IMAGES][-1] ^ 1])}
    with serving(mirror_of(wrong)) as (url, _):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert re.search("t10k-images.*: expected SHA-256 .*, found ", capsys.readouterr().err)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("failing", range(9))
def test_a_failure_while_files_are_put_in_place_takes_all_back(tmp_path, files, failing, monkeypatch):
    write(tmp_path, {TRAIN_LABELS: files[TRAIN_LABELS]})
    (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(b"damaged")
    before, calls, replace = snapshot(tmp_path), itertools.count(), os.replace

    def fail(source, target):
        if next(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with serving(mirror_of(files)) as (url, _):
        if failing < 7:  # three files written, one of them moved out of the way, three put in place
            with pytest.raises(OSError, match="Input/output error"):
                mnist.download(tmp_path, url)
            assert snapshot(tmp_path) == before
        else:
            mnist.download(tmp_path, url)
            assert listing(tmp_path) == WHOLE


def test_a_directory_in_place_of_a_file_stays(tmp_path, files, capsys):
    (tmp_path / f"{TEST_LABELS}.gz").mkdir()
    (tmp_path / f"{TEST_LABELS}.gz" / "notes").write_text("mine")
    before = snapshot(tmp_path)
    with serving(mirror_of(files)) as (url, _):
        assert mnist.main([str(tmp_path), "--mirror", url]) == 1
    assert snapshot(tmp_path) == before
    assert f"{TEST_LABELS}.gz: is not a file that can be replaced; " in capsys.readouterr().err


def test_directories_that_were_made_for_nothing_go_again(tmp_path, files):
    with serving({}) as (url, _):
        assert mnist.main([str(tmp_path / "a" / "b"), "--mirror", url]) == 1
    assert listing(tmp_path) == []


def test_without_a_directory_it_goes_where_data_is_looked_for(tmp_path, files, monkeypatch, capsys):
    monkeypatch.setattr(mnist, "CHECKOUT", None)
    cache = tmp_path / "cache" / "tinygrad_mnist"
    with serving(mirror_of(files)) as (url, log):
        assert mnist.main(["--mirror", url]) == 0
        assert mnist.load().source == cache
        assert capsys.readouterr().out.splitlines()[-1] == f"MNIST is in {cache}: mnist.load() finds it"
        monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path / "mine"))
        assert mnist.main(["--mirror", url]) == 0
        assert mnist.load().source == tmp_path / "mine"
        assert len(log) == 8
        monkeypatch.delenv("TINYGRAD_MNIST_DATA")
        assert mnist.main(["--mirror", url]) == 0
        assert len(log) == 8  # it is there already
    assert listing(tmp_path) == ["cache", "mine"]


def test_without_a_directory_data_that_comes_with_the_repository_is_enough(tmp_path, capsys):
    assert mnist.main([]) == 0
    output = capsys.readouterr().out
    assert output.count("already there, verified\n") == 4
    assert output.splitlines()[-1] == f"MNIST is in {DATA}: mnist.load() finds it"


def dripping(where, stop):
    """Serve one connection on loopback a byte at a time, the content alone or the headers too; returns URL, thread."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(10)  # whoever should connect may have failed before

    def serve():
        with server, server.accept()[0] as connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            head = b"HTTP/1.0 200 OK\r\n"
            if where == "content":
                connection.sendall(head + b"Content-Length: 100000\r\n\r\n")
            else:
                connection.sendall(head)
            while not stop.wait(0.01):
                connection.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", thread


@pytest.mark.parametrize("where", ["content", "headers"])
def test_a_mirror_that_drips_is_given_up(tmp_path, files, where, capsys):
    stop = threading.Event()
    url, thread = dripping(where, stop)
    try:
        assert mnist.main([str(tmp_path), "--mirror", url, "--limit", "0.2"]) == 1
    finally:
        stop.set()
        thread.join()
    error = capsys.readouterr().err
    assert re.match(r"error: \S+: .*not there after 0.2 s; check the network, or name another mirror", error)
    assert error.count("\n") == 1
    assert listing(tmp_path) == []


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_time_is_said_in_a_line(tmp_path, files, limit, capsys):
    with serving(mirror_of(files)) as (url, log):
        assert mnist.main([str(tmp_path / "new"), "--mirror", url, f"--limit={limit}"]) == 1
    assert log == []
    assert re.match(r"error: limit: expected a number of seconds, got .*; .*\n\Z", capsys.readouterr().err)
    assert listing(tmp_path) == []


# ---- Making a data set like MNIST of others


def test_a_data_set_of_emnist_becomes_one_of_mnists_kind(tmp_path, capsys):
    source, made = emnist(tmp_path / "gzip") / "emnist-letters", tmp_path / "letters"
    assert mnist.main([str(made), "--from", str(source), "--transpose"]) == 0
    assert listing(made) == sorted(NAMES)
    assert_same(mnist.load(made), mnist.load(source, transpose=True))
    assert (made / TRAIN_LABELS).read_bytes() == contents(seed=EMNIST.index("letters"))[TRAIN_LABELS]
    output = capsys.readouterr()
    assert (
        output.out == f"the data set is in {made}: set TINYGRAD_MNIST_DATA={made}, or call mnist.load({str(made)!r})\n"
    )
    assert output.err == ""
    before = snapshot(made)
    assert mnist.main([str(made), "--from", str(source)]) == 1  # not over what is there
    assert "expected no data set, found one; choose another directory" in capsys.readouterr().err
    assert snapshot(made) == before


@pytest.mark.parametrize("code", [0x09, 0x0B, 0x0C, 0x0D, 0x0E])
def test_pixels_of_other_types_and_many_classes_are_kept(tmp_path, code):
    files = contents() | {
        TRAIN_IMAGES: typed(code, np.arange(78).reshape(13, 3, 2)),
        TRAIN_LABELS: typed(0x0C, np.arange(13) * 300),
    }
    source = write(tmp_path / "source", {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)})
    mnist.convert(source, tmp_path / "made" / "here")
    one, other = mnist.load(tmp_path / "made" / "here"), mnist.load(source)
    assert np.array_equal(one.train.images, other.train.images)
    assert np.array_equal(one.train.labels, other.train.labels)
    assert one.n_classes == 3601


@pytest.mark.parametrize("arguments", [["x", "--transpose"], ["--from", "y"], ["--from", "y", "--transpose"]])
def test_what_is_to_be_made_of_what_must_be_said(tmp_path, arguments, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        mnist.main(arguments)
    assert "--transpose needs --from SOURCE, and that needs DIR" in capsys.readouterr().err


def test_a_source_that_is_none_makes_nothing(tmp_path, capsys):
    assert mnist.main([str(tmp_path / "made"), "--from", str(tmp_path / "nowhere")]) == 1
    assert re.match(r"error: no train-images-idx3-ubyte, .*nowhere \(not a directory\); ", capsys.readouterr().err)
    assert listing(tmp_path) == []


# ---- The command line, as a process of its own


def test_the_command_fetches_mnist(tmp_path):
    bodies = {f"/{name}.gz": (DATA / f"{name}.gz").read_bytes() for name in NAMES}
    with serving({path: (200, body, len(body)) for path, body in bodies.items()}) as (url, _):
        done = run("-m", "tinygrad_mnist.mnist", "new", "--mirror", url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "new") in done.stdout.splitlines()[-1]
    for path, body in bodies.items():
        assert (tmp_path / "new" / path[1:]).read_bytes() == body


def test_the_command_fails_in_a_line(tmp_path):
    with serving({}) as (url, _):
        done = run("-m", "tinygrad_mnist.mnist", "new", "--mirror", url, cwd=tmp_path)
    assert done.returncode == 1
    assert re.match(r"error: .*404.*\n\Z", done.stderr)
    assert listing(tmp_path) == []


def test_the_command_used_wrongly_exits_with_2(tmp_path):
    done = run("-m", "tinygrad_mnist.mnist", "new", "--mirrors", "two", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m tinygrad_mnist.mnist: error: ")


# As `python -m` does, but what a shell runs in the background is deaf to Ctrl-C, and so is what that starts.
HEARING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("tinygrad_mnist.mnist", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C cannot be sent to one process here")
def test_the_command_interrupted_exits_with_130(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", HEARING, "new", "--mirror", url],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with silent.accept()[0] as connection:
            connection.settimeout(60)
            assert connection.recv(1)  # it has asked, and waits for the answer
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.match(r"interrupted.*\n\Z", error)
    assert listing(tmp_path) == []
