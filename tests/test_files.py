"""files.py: a file is written whole or not at all, whoever else writes it."""

import os
import threading

import pytest

from tinygrad_mnist.files import whole


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
