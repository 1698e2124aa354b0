"""files.py: a file is written whole or not at all, whoever else writes it; and what is claimed is one run's alone."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tinygrad_mnist.files import claimed, whole

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="needs locks that end with their process")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    (tmp_path / "a").write_text("before")

    def interrupted():
        with whole(tmp_path / "a") as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


def test_permissions_stay(tmp_path):
    path = tmp_path / "a.npz"
    path.touch(0o600)
    with whole(path) as part:
        part.write_text("secret")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("secret", 0o600)


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 251 + ".npz")
    with whole(path) as part:
        part.write_text("all")
    assert path.read_text() == "all"


def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", os.devnull, tmp_path):
        with pytest.raises(OSError, match="is not a file that can be replaced; name another"), whole(path):
            pass


def test_several_threads_write_one_file_and_each_writes_it_whole(tmp_path):
    path = tmp_path / "a"
    found = set()

    def work(text):
        for _ in range(30):
            with whole(path) as part:
                part.write_text(text)
            found.add(path.read_text())

    texts = [letter * 5000 for letter in "abcd"]
    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found <= set(texts)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def killed(body, cwd):
    """Run a program that is killed in the middle of writing."""
    text = f"import os, signal\nfrom tinygrad_mnist.files import claimed, whole\n{body}"
    text += "    os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", text], cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -9


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@posix
def test_what_a_killed_process_left_goes_with_the_next_save_of_the_same_file(tmp_path):
    for name in ("a.npz", "a.npz", "b.npz"):
        killed(f"with claimed({name!r}), whole({name!r}) as part:\n    part.write_text('half')\n", tmp_path)
    assert len(names(tmp_path)) == 4  # the second removed what the first had left
    with whole(tmp_path / "a.npz") as part:
        part.write_text("all")
    assert len([name for name in names(tmp_path) if name.startswith(".")]) == 2  # of another file
    with claimed(tmp_path / "b.npz"), whole(tmp_path / "b.npz") as part:
        part.write_text("all")
    assert names(tmp_path) == ["a.npz", "b.npz"]


@posix
@pytest.mark.parametrize("name", ["a.npz", "n" * 251 + ".npz", "no suffix", "." + "s" * 254])
def test_the_part_that_a_living_process_writes_stays(tmp_path, name):
    text = "import sys\nfrom tinygrad_mnist.files import whole\n"
    text += (
        f"with whole({name!r}) as part:\n    part.write_text('first')\n    print(part.name, flush=True)\n    input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        part = process.stdout.readline().strip()
        for _ in range(2):
            with whole(tmp_path / name) as other:
                other.write_text("second")
        assert names(tmp_path) == sorted([part, name])
        process.communicate("\n")
    assert process.returncode == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "first")]


@posix
def test_what_is_claimed_is_nobody_elses_until_its_block_or_its_process_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("a.npz", "link.npz")
    killed("with claimed('a.npz'):\n", tmp_path)
    with claimed("a.npz", "b.npz"):
        for name in ("a.npz", "b.npz", "./a.npz", tmp_path / "a.npz", "link.npz"):
            with pytest.raises(OSError, match=r"(a|b|link)\.npz: another run is writing it; wait"), claimed(name):
                pass
        with claimed("c.npz"), whole("a.npz") as part:
            part.write_text("all")
        with pytest.raises(OSError, match=r"a\.npz: another run"), claimed("d.npz", "a.npz"):
            pass
        with claimed("d.npz"):  # the attempt to claim both has left neither
            pass
    with claimed("a.npz"):
        pass
    assert names(tmp_path) == ["a.npz", "link.npz"]


def test_errors_name_the_file_that_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in ((None, None), (errno.ENOSPC, None), (errno.ENOSPC, "part"), (errno.EACCES, "other")):
        expected = ("a failure",) if number is None else (number, "why", name if name == "other" else "a.npz")
        with pytest.raises(OSError, match=r"a failure|why") as caught, whole("a.npz") as part:
            raise OSError("a failure") if number is None else OSError(number, "why", part if name == "part" else name)
        assert (*caught.value.args, *([caught.value.filename] if number else ())) == expected
    for name in ("nodir/a.npz", "/nodir/deeper/a.npz"):
        with pytest.raises(FileNotFoundError, match=r"there is no directory /?nodir") as missing, whole(name):
            pass
        assert missing.value.filename == name
    monkeypatch.setattr(os, "open", lambda path, *rest: (_ for _ in ()).throw(PermissionError(13, "denied", path)))
    with pytest.raises(PermissionError) as refused, whole("a.npz"):
        pass
    assert refused.value.filename == "a.npz"
    with claimed("a.npz"):  # where nothing can be written, nothing can be lost
        pass
    assert names(tmp_path) == []
