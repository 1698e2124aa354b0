"""What a trained writer does: it writes, completes, shows where its heads look, and reads; as text and as pictures."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tinygrad_mnist import mnist
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import CheckpointError

from .models import NETWORK3
from .patches import CODES, decode, grid_of
from .transformer import Writer, attention_of, class_likelihoods, write
from .words import counted
from .writer_measures import MOST, Reader, report, written
from .writer_pictures import attention_as_text, draw_attention, grid, in_rows

_MOST_AT_ONCE = 10_000
"""How many digits of each class are written at once: some minutes of work."""


def act(writer: Writer, data: Any, asked: argparse.Namespace) -> None:
    """Do all that was asked for, with a writer; `data` is None where only writing was."""
    rng = np.random.default_rng([2, asked.given.get("seed", 0)])
    reader = _reader(writer, asked)
    if asked.write is not None or (asked.picture and not set(asked.actions) - {"classify", "measure"}):
        _write(writer, reader, rng, asked)
    if asked.complete is not None:
        _complete(writer, reader, rng, data, asked)
    if asked.attention is not None:
        _attention(writer, data, asked)
    if asked.classify is not None:
        _classify(writer, data, asked.classify)
    if asked.measure:
        for line in report(writer, data, reader, rng, asked.temperature, asked.count or MOST):
            print(line, flush=True)


def refuse_impossible(writer: Writer, data: Any, asked: argparse.Namespace) -> None:
    """Raise now, and not after the training, for what a writer of these images cannot do; `data` as for `act`."""
    if (asked.count or 0) > _MOST_AT_ONCE:  # all are kept until they are shown: 10^8 took gigabytes, without a word
        raise ValueError(f"--count {asked.count}: expected at most {_MOST_AT_ONCE:,}; write more with other seeds")
    if wrong := [label for label in asked.write or () if label >= writer.n_classes]:
        raise ValueError(f"--write {wrong[0]}: there is no such class; name some of 0 to {writer.n_classes - 1}")
    if (asked.patch or 0) >= writer.length:
        raise ValueError(f"--patch {asked.patch}: there is no such patch; name one of 0 to {writer.length - 1}")
    for option in ("complete", "attention", "classify"):
        index = getattr(asked, option)
        if index is not None and (data.test is None or (index >= len(data.test) and option != "classify")):
            there = "no test digits" if data.test is None else f"test digits 0 to {len(data.test) - 1}"
            raise ValueError(f"--{option} {index}: there are {there} in {data.source}; name others with --data")
    _reader(writer, asked)


def _reader(writer: Writer, asked: argparse.Namespace) -> Reader | None:
    """Who reads what is written; None where the one in zoo/models is for other images."""
    try:
        return Reader(asked.reader, writer)
    except CheckpointError:
        if asked.reader != NETWORK3:
            raise
        return None


def _write(writer: Writer, reader: Reader | None, rng: np.random.Generator, asked: argparse.Namespace) -> None:
    classes = range(writer.n_classes) if asked.write is None else asked.write
    count = asked.count or (10 if asked.picture else 4)
    labels = np.repeat(classes, count)
    images = writer.decoded(written(writer, labels, rng, asked.temperature))
    read = reader.read(images) if reader else None
    if asked.write is not None:
        captions = [str(label) if read is None else f"{label}, read as {read[i]}" for i, label in enumerate(labels)]
        print(in_rows(images, writer.image_shape, captions))
    if read is not None:
        print(f"{(read == labels).sum()} of {len(labels)} are read as asked, by a network that never saw a written one")
    if asked.picture:
        rows = images.reshape(len(classes), count, -1)
        title = f"written {_chance(asked)}"
        grid(rows, writer.image_shape, [str(label) for label in classes], title, asked.picture)
        print(f"{asked.picture}: {count} of each class")


def _chance(asked: argparse.Namespace) -> str:
    """What decided, besides the writer, what is written."""
    return f"at temperature {asked.temperature:g}, seed {asked.given.get('seed', 0)}"


def _complete(
    writer: Writer, reader: Reader | None, rng: np.random.Generator, data: mnist.Dataset, asked: argparse.Namespace
) -> None:
    """Draw a class by how likely the upper part is under each, and go on from there."""
    image, label = _test_digit(data, asked.complete)
    symbols = writer.encoded(image[None], np.array([label]))
    rows, columns = grid_of(writer.image_shape)
    given = (rows + 1) // 2 * columns
    count = asked.count or (9 if asked.picture else 4)
    likelihoods = class_likelihoods(writer, symbols[:, : 1 + given])[0]
    shares = np.exp(likelihoods - likelihoods.max())
    shares /= shares.sum()
    start = np.repeat(symbols[:, : 1 + given], count, 0)
    start[:, 0] = CODES + rng.choice(writer.n_classes, count, p=shares)
    completed = writer.decoded(write(writer, start, rng, asked.temperature))
    seen = symbols.copy()
    seen[:, 1 + given :] = 0
    images = np.concatenate([image[None], decode(seen[:, 1:], writer.image_shape, writer.codebook.numpy()), completed])
    classes = start[:, 0] - CODES
    read = reader.read(completed) if reader else classes
    captions = [f"test digit {asked.complete}, a {label}", "what it sees"]
    captions += [f"as a {now}, read as {said}" for now, said in zip(classes, read, strict=True)]
    if asked.picture:
        names = [f"test digit {asked.complete}"]
        title = f"the digit, what is seen of it, and how it goes on {_chance(asked)}"
        grid(images[None], writer.image_shape, names, title, asked.picture)
        print(f"{asked.picture}: {counted(count, 'completion')}")
    print(in_rows(images, writer.image_shape, captions))
    likely = [f"{at} {shares[at]:.0%}" for at in np.argsort(-shares, kind="stable")[:3].tolist()]
    print(f"the upper part is of class {', '.join(likely)}")


def _attention(writer: Writer, data: mnist.Dataset, asked: argparse.Namespace) -> None:
    image, label = _test_digit(data, asked.attention)
    patch = writer.length // 2 if asked.patch is None else asked.patch
    symbols = writer.encoded(image[None], np.array([label]))
    maps = attention_of(writer, symbols[:, :-1])[:, 0, :, patch]
    maps = np.pad(maps, [(0, 0), (0, 0), (0, 1)])  # the last patch is seen by none
    row, column = divmod(patch, grid_of(writer.image_shape)[1])
    title = f"where each head looks as row {row + 1}, column {column + 1} of test digit {asked.attention} is written"
    print(title)
    print(attention_as_text(maps, patch, writer.image_shape))
    if asked.picture:
        draw_attention(maps, writer.decoded(symbols)[0], patch, writer.image_shape, title, asked.picture)
        print(f"{asked.picture}: the same in colour")


def _classify(writer: Writer, data: mnist.Dataset, count: int) -> None:
    assert data.test is not None
    some = data.test[:count]
    said = class_likelihoods(writer, writer.encoded(some.images, some.labels)).argmax(1)
    wrong = np.flatnonzero(said != some.labels)
    print(f"{1 - len(wrong) / len(some):.2%} of the first {len(some):,} test digits, by argmax p(image | class)")
    if len(wrong):
        print("wrong:", ", ".join(f"{i} ({some.labels[i]} as {said[i]})" for i in wrong[:10]))


def _test_digit(data: mnist.Dataset, index: int) -> tuple[Array, int]:
    assert data.test is not None
    return data.test.images[index], int(data.test.labels[index])
