"""What one trains on: images with their labels, checked where they enter, and gone through in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from .convert import in_one_line

Images: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]
Index: TypeAlias = slice | Sequence[int] | Sequence[bool] | npt.NDArray[np.integer | np.bool_]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, `len(split)` of them. The arrays of those that `mnist.load` returns are read-only.

    images: float32 (n, rows * columns), pixels in [0, 1]
    labels: int64 (n,), in 0 .. n_classes - 1

    Lists become arrays, and labels int64. ValueError: the two do not fit each other, a label is no whole number of at
    least 0, or a pixel is not finite. A split is indexed as its arrays are:

    >>> split = Split(np.eye(5, dtype=np.float32), np.arange(5))
    >>> split[1:4], split[[0, 2]], split[split.labels > 2].labels
    (Split(images=(3, 5), labels=(3,)), Split(images=(2, 5), labels=(2,)), array([3, 4]))
    >>> image, label = split[-1]
    """

    images: Images
    labels: Labels

    def __post_init__(self) -> None:
        # As a frozen class sets its own fields.
        object.__setattr__(self, "images", _array("images", self.images, np.float32))
        object.__setattr__(self, "labels", _whole_numbers(self.labels))
        self.check()

    def check(self, name: str = "") -> None:
        """Raise a ValueError, with `name` before it, that says where an array is not what it should be any more."""
        images, labels = self.images, self.labels
        if images.ndim < 2 or images.dtype.kind not in "buif":
            raise ValueError(f"{name}images: expected numbers of shape (n, pixels), got {_in_short(images)}")
        if labels.ndim != 1:
            raise ValueError(f"{name}labels: expected shape (n,), got {_in_short(labels)}")
        if len(images) != len(labels):
            raise ValueError(f"{name}expected one label per image, got {len(labels)} for {len(images)}")
        if labels.size and labels.min() < 0:
            raise ValueError(f"{name}{_place('labels', labels, labels < 0)}; expected a class, numbered from 0")
        check_finite(f"{name}images", images)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int | np.integer) -> tuple[Images, np.int64]: ...

    @overload
    def __getitem__(self, index: Index) -> Split: ...

    def __getitem__(self, index: Any) -> Any:
        try:
            images, labels = self.images[index], self.labels[index]
        except IndexError as error:
            raise IndexError(
                f"Split: {error}; it has {len(self)} examples, index it by numbers, slices or masks"
            ) from None
        return Split(images, labels) if isinstance(labels, np.ndarray) else (images, labels)

    def __repr__(self) -> str:
        return f"Split(images={self.images.shape}, labels={self.labels.shape})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """What `mnist.load` returns, or one of your own. ValueError: its parts do not fit each other.

    >>> split = Split(np.zeros((6, 9), np.float32), [0, 1, 2, 0, 1, 2])
    >>> data = Dataset(split[:4], split[4:])
    >>> data.n_classes, data.image_shape
    (3, (3, 3))
    """

    train: Split
    validation: Split  # empty where there are fewer than six training images
    test: Split | None = None  # None where there are no test files
    n_classes: int = None  # type: ignore[assignment]  # left out: the largest label of all splits, plus one
    image_shape: tuple[int, int] = None  # type: ignore[assignment]  # rows, columns; left out: squares, or one row
    source: Path = Path("data of one's own")  # the directory that it was read from

    def __post_init__(self) -> None:
        n_classes: Any = self.n_classes
        image_shape: Any = self.image_shape
        if n_classes is None:
            largest = [int(split.labels.max()) for _, split in self._splits() if len(split)]
            object.__setattr__(self, "n_classes", 1 + max(largest, default=0))
        if image_shape is None:
            object.__setattr__(self, "image_shape", _rows_and_columns(self.train.images.shape[1:]))
        check_count("n_classes", self.n_classes)
        if not isinstance(self.image_shape, Sequence):
            raise TypeError(f"image_shape: expected (rows, columns), got {self.image_shape!r}")
        for name, split in self._splits():
            if math.prod(split.images.shape[1:]) != math.prod(self.image_shape):
                raise ValueError(
                    f"{name}: images: expected {' x '.join(map(str, self.image_shape))} pixels, as image_shape says, "
                    f"got {_in_short(split.images)}"
                )
            check_classes(f"{name}: labels", split.labels, self.n_classes)

    def check(self) -> None:
        """Raise a ValueError that says where an array is not what it should be any more."""
        for name, split in self._splits():
            split.check(f"{name}: ")
            check_classes(f"{name}: labels", split.labels, self.n_classes)

    def _splits(self) -> list[tuple[str, Split]]:
        test = [] if self.test is None else [("test", self.test)]
        splits = [("train", self.train), ("validation", self.validation), *test]
        for name, split in splits:
            if not isinstance(split, Split):
                raise TypeError(f"{name}: expected a Split, got {type(split).__name__}; use Split(images, labels)")
        return splits

    def head(self, n: int) -> Dataset:
        """Return the data set with only its first `n` training images, 1 <= n <= len(train); copies nothing.

        >>> some = Split(np.zeros((50, 4), np.float32), np.arange(50))
        >>> data = Dataset(some, some, None, n_classes=50, image_shape=(2, 2), source=Path())
        >>> len(data.head(20).train), len(data.head(20).validation)
        (20, 50)
        """
        check_count("the number of training images", n)
        if n > len(self.train):
            raise ValueError(f"{n} training images asked for, {self.source} has {len(self.train)}; ask for fewer")
        return replace(self, train=self.train[:n])


def batches(
    split: Split | tuple[Any, Any], batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Images, Labels]]:
    """Iterate over one epoch: each example once, in (images, labels) of `batch_size`; the last may be fewer.

    The order is drawn from `rng` at the call, so the same seed gives the same batches; None keeps the order.
    Batches are copies, and `split`, which may be a pair (images, labels) as well, stays as it is. ValueError:
    `batch_size` is not an integer of at least 1, or the pair is none that `Split` takes.

    >>> split = Split(np.eye(5, dtype=np.float32), np.arange(5))
    >>> [labels.tolist() for images, labels in batches(split, 2)]
    [[0, 1], [2, 3], [4]]
    >>> [labels.tolist() for images, labels in batches(split, 2, np.random.default_rng(1))]
    [[4, 0], [1, 2], [3]]
    """
    split = _split(split)
    # An epoch of 50,000 digits in tens: take 19 ms, images[chunk] 24 ms, one shuffled copy of it all 41 ms.
    images, labels = split.images, split.labels
    return ((images.take(chunk, axis=0), labels.take(chunk)) for chunk in rows_of_batches(len(split), batch_size, rng))


def _split(given: Any) -> Split:
    if isinstance(given, tuple | list) and len(given) == 2:
        return Split(*given)
    if not isinstance(given, Split):
        remedy = "one of its splits, as data.train" if isinstance(given, Dataset) else "images and labels, Split(x, y)"
        raise TypeError(f"batches: expected a Split, got {in_one_line(given)}; pass {remedy}")
    return given


def rows_of_batches(n: int, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each batch of an epoch, out of n; see `batches`."""
    check_count("batch_size", batch_size)
    if not isinstance(rng, np.random.Generator | None):
        raise TypeError(f"rng must be None or a Generator such as numpy.random.default_rng(0), got {rng!r}")
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


def sorted_by_class(labels: Labels) -> bool:
    """Whether neighbours are of one class far more often than by chance, by four standard deviations."""
    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    alike = np.count_nonzero(labels[1:] == labels[:-1])
    chance = (counts * (counts - 1)).sum() / max(n, 1)
    return alike > chance and bool(alike - chance >= 4 * math.sqrt(chance * (1 - chance / n)))


def _rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of images whose shape is known, or of rows of pixels."""
    if len(shape) == 2:
        return shape[0], shape[1]
    side = math.isqrt(pixels := math.prod(shape))
    return (side, side) if side * side == pixels else (1, pixels)


def check_count(what: str, value: object) -> None:
    """Raise a ValueError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{what} must be an integer of at least 1, got {value!r}")


def check_classes(name: str, labels: Labels, n_classes: int) -> None:
    """Raise a ValueError that says where a label is no class."""
    if labels.size and labels.max() >= n_classes:
        place = _place(name, labels, labels >= n_classes)
        raise ValueError(f"{place}; expected 0 to {n_classes - 1}, as there are {n_classes} classes")


def check_finite(name: str, images: npt.NDArray[Any]) -> None:
    """Raise a ValueError that says where a pixel is not a finite number."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = images.sum()  # not finite if a pixel is not: 19 ms for 60,000 digits, where a look at each takes 28 ms
    if not np.isfinite(total) and not (finite := np.isfinite(images)).all():
        raise ValueError(f"{_place(name, images, ~finite)}; expected finite pixels")


def _array(name: str, values: Any, dtype: type | None) -> npt.NDArray[Any]:
    """Return what may be a list as an array, the same if it is one; of `dtype`, if it has no type of its own."""
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: expected no masked values, got some; leave those examples out")
    try:
        return np.asarray(values, None if hasattr(values, "dtype") else dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected an array of numbers, got {in_one_line(values)} ({error})") from None


def _whole_numbers(labels: Any) -> Labels:
    """Return labels as int64 (n,): the same array, if it is that already."""
    array = _array("labels", labels, None)
    if array.ndim != 1:
        remedy = "" if array.ndim != 2 else "; use labels.ravel()" if array.shape[1] == 1 else "; use labels.argmax(1)"
        raise ValueError(f"labels: expected shape (n,), got {_in_short(array)}{remedy}")
    if array.dtype.kind not in "biu" and array.size:
        raise ValueError(
            f"labels: expected whole numbers, got {array.dtype}: labels[0] is {array[0]}; use labels.astype(int)"
        )
    return array.astype(np.int64, copy=False)


def _in_short(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _place(name: str, array: npt.NDArray[Any], wrong: npt.NDArray[np.bool_]) -> str:
    """Return where the first wrong value is, and what it is: "labels[3] is -1"."""
    place = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    return f"{name}[{', '.join(map(str, place))}] is {array[place]}"
