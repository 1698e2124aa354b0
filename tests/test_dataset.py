"""dataset.py: what a Split and a Dataset refuse, and in which words; a Split indexed as an array is."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.mnist import Dataset, Split

from .helpers import refused


def numbered(n=10) -> Any:
    """Make a split whose images say which they are."""
    return Split(np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, axis=1), np.arange(n))


def images(n=3):
    return np.zeros((n, 4), np.float32)


# ---- What a Split is made of


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, -1], "labels[2] is -1; expected a class, numbered from 0"),
        (np.array([-7, 0, 0], np.int8), "labels[0] is -7"),
        (np.array([0.0, 1.0, 2.0]), "labels: expected whole numbers, got float64: labels[0] is 0.0; use labels.astype"),
        ([0.5, 1, 2], "labels: expected whole numbers, got float64: labels[0] is 0.5"),
        ([1.0, np.nan, 2.0], "labels: expected whole numbers, got float64"),
        (["a", "b", "c"], "labels: expected whole numbers, got <U1: labels[0] is a"),
        ([None, 1, 2], "labels: expected whole numbers, got object: labels[0] is None"),
        (np.zeros((3, 1), int), "labels: expected shape (n,), got int64 of shape (3, 1); use labels.ravel()"),
        (np.eye(3), "labels: expected shape (n,), got float64 of shape (3, 3); use labels.argmax(1)"),
        (np.zeros((3, 1, 1), int), "labels: expected shape (n,), got int64 of shape (3, 1, 1)"),
        (3, "labels: expected shape (n,), got int64 of shape ()"),
        (None, "labels: expected shape (n,), got object of shape ()"),
        ([[0], [1, 2]], "labels: expected an array of numbers, got [[0], [1, 2]]"),
        (np.ma.masked_equal(np.arange(3), 1), "labels: expected no masked values, got some; leave those examples"),
        ([0, 1], "expected one label per image, got 2 for 3"),
        (np.zeros(4, int), "expected one label per image, got 4 for 3"),
    ],
)
def test_labels_that_are_none_are_named(labels, words):
    with refused(ValueError, words):
        Split(images(), labels)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros(3, np.float32), "images: expected numbers of shape (n, pixels), got float32 of shape (3,)"),
        (np.zeros((3, 4), complex), "images: expected numbers of shape (n, pixels), got complex128 of shape (3, 4)"),
        (np.zeros((3, 4), object), "images: expected numbers of shape (n, pixels), got object of shape (3, 4)"),
        ("abc", "images: expected an array of numbers, got 'abc'"),
        ([[0, 1], [2], [3]], "images: expected an array of numbers, got [[0, 1], [2], [3]]"),
        ({0: 1}, "images: expected an array of numbers, got {0: 1}"),
        (np.ma.masked_equal(np.eye(3), 0), "images: expected no masked values, got some"),
        ([[0, 1], [2, 3], [4, np.nan]], "images[2, 1] is nan; expected finite pixels"),
        (np.full((3, 2, 2), -np.inf), "images[0, 0, 0] is -inf; expected finite pixels"),
        (np.array([[0], [np.inf], [-np.inf]], np.float16), "images[1, 0] is inf; expected finite pixels"),
    ],
)
def test_images_that_are_none_are_named(pixels, words):
    with refused(ValueError, words):
        Split(pixels, np.arange(3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_pixels_are_finite_though_their_sum_is_not(dtype):
    assert len(Split(np.full((9, 9), np.finfo(dtype).max, dtype), np.zeros(9, int))) == 9


@pytest.mark.parametrize(
    "labels",
    [[0, 2, 1], (0, 2, 1), np.array([0, 2, 1], np.uint8), np.array([0, 2, 1], ">i4"), Tensor(np.array([0, 2, 1]))],
)
def test_labels_become_int64(labels):
    split = Split([[0.5, 1], [0, 0], [0, 1]], labels)  # type: ignore[arg-type]
    assert (split.labels.dtype, split.labels.tolist()) == (np.int64, [0, 2, 1])
    assert (split.images.dtype, split.images.shape) == (np.float32, (3, 2))


def test_arrays_that_are_right_are_shared():
    pixels, labels = images(), np.arange(3)
    split = Split(pixels, labels)
    assert split.images is pixels
    assert split.labels is labels


def test_a_split_may_be_empty():
    assert len(Split(np.zeros((0, 4), np.float32), [])) == 0  # type: ignore[arg-type]


# ---- A Split indexed


@pytest.mark.parametrize(
    "index",
    [
        slice(4),
        slice(None, None, -1),
        slice(-3, None),
        slice(8, 2, -2),
        slice(4, 4),
        slice(5, 100),
        [3, 1, 1],
        [],
        np.array([9, -1]),
        np.arange(10) % 3 == 0,
        [True, False] * 5,
        np.zeros(10, bool),
        ...,
    ],
)
def test_a_part_of_a_split_is_a_split(index):
    split = numbered()
    part = split[index]
    assert type(part) is Split
    assert np.array_equal(part.labels, split.labels[index])
    assert np.array_equal(part.images, split.images[index])
    assert len(part) == len(np.arange(10)[index])


@pytest.mark.parametrize("index", [0, 9, -1, np.int64(3), np.array(4)])
def test_one_of_a_split_is_an_image_and_its_label(index):
    image, label = numbered()[index]
    assert image.tolist() == [label] * 3
    assert label == np.arange(10)[index]


def test_a_split_can_be_gone_through():
    assert [int(label) for _, label in numbered(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("index", [10, -11, [10], np.ones(9, bool), (1, 2), "labels", 1.5, [0.5], (slice(2), 1)])
def test_what_indexes_no_array_indexes_no_split(index):
    with pytest.raises((IndexError, TypeError)):
        numbered()[index]


@pytest.mark.parametrize("index", [None, True, [[0, 1], [2, 3]]])
def test_what_adds_a_dimension_gives_no_split(index):
    with refused(ValueError, "labels: expected shape (n,)"):
        numbered()[index]


def test_slices_share_memory_and_stay_read_only():
    split = numbered()
    split.images.flags.writeable = False
    assert np.shares_memory(split[2:5].images, split.images)
    assert not split[2:5].images.flags.writeable


# ---- What a Dataset is made of


def dataset(**changes: Any):
    split = Split(images(3), np.arange(3))
    parts = {"train": split, "validation": split, "test": None, "n_classes": 3, "image_shape": (2, 2), "source": Path()}
    return Dataset(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_classes": 2}, "train: labels[2] is 2; expected 0 to 1, as there are 2 classes"),
        ({"test": Split(images(1), [7])}, "test: labels[0] is 7; expected 0 to 2"),  # type: ignore[arg-type]
        ({"n_classes": 0}, "n_classes must be an integer of at least 1, got 0"),
        ({"n_classes": 3.0}, "n_classes must be an integer of at least 1, got 3.0"),
        ({"train": (images(), np.arange(3))}, "train: expected a Split, got tuple; use Split(images, labels)"),
        ({"validation": None}, "validation: expected a Split, got NoneType"),
        ({"image_shape": 4}, "image_shape: expected (rows, columns), got 4"),
        ({"image_shape": (28, 28)}, "train: images: expected 28 x 28 pixels, as image_shape says, got float32 of"),
        ({"test": Split(np.zeros((1, 9), "f"), np.zeros(1, int))}, "test: images: expected 2 x 2 pixels"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, words):
    with refused((TypeError, ValueError), words):
        dataset(**changes)


def test_a_data_set_with_another_part_is_looked_at_too():
    with refused(ValueError, "validation: labels[0] is 9"):
        dataclasses.replace(dataset(), validation=Split(images(1), np.array([9])))


@pytest.mark.parametrize(("shape", "expected"), [((9,), (3, 3)), ((6,), (1, 6)), ((2, 3), (2, 3)), ((1, 2, 2), (2, 2))])
def test_classes_and_shape_may_be_left_out(shape, expected):
    split = Split(np.zeros((3, *shape), "f"), np.array([0, 4, 1]))
    more = Split(np.zeros((1, *shape), "f"), np.array([6]))
    data = Dataset(split, split[:0], more)
    assert (data.n_classes, data.image_shape) == (7, expected)
    assert Dataset(split, split).n_classes == 5
    with refused(ValueError, "validation: labels[0] is 6"):
        dataclasses.replace(Dataset(split, split), validation=more)


def test_images_may_have_channels():
    split = Split(np.zeros((3, 1, 2, 2), "f"), np.arange(3))
    assert len(dataset(train=split).head(2).train) == 2
