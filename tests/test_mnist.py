"""mnist.py: the real digits, small made-up sets, every fault a file can have, downloads over loopback."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import os
import re
import signal
import socket
import struct
import subprocess
import sys
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
    monkeypatch.setattr(mnist, "__file__", str(tmp_path / "repository" / "tinygrad_mnist" / "mnist.py"))
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
    monkeypatch.setattr(mnist, "__file__", str(tmp_path / "site-packages" / "tinygrad_mnist" / "mnist.py"))
    cached = write(tmp_path / ".cache" / "tinygrad_mnist", contents())
    assert mnist.load().source == cached


def run(*arguments, cwd, **options):
    """Run Python in `cwd` on this repository's package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, **options)


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


@pytest.mark.parametrize("ending", [".gz", ""])
def test_what_is_there_and_right_is_not_fetched_again(tmp_path, files, ending, capsys):
    for name, content in files.items():
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(content) if ending else content)
    with serving(mirror_of(files)) as (url, log):
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
    assert done.stderr.startswith("usage: python -m tinygrad_mnist.mnist")


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
