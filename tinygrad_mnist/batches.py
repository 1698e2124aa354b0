"""An epoch's batches: taken out of the training split, shown to whoever shows progress, trained on one or many at once.

For `train.fit`, whose loop they would hide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .convert import in_one_line
from .dataset import Dataset, Split, check_classes, rows_of_batches
from .replay import Compiled
from .tensor import Array, leaf

_AT_ONCE = 64
"""How many steps a compiled training takes at once, at most: progress is so much ahead."""


class _Batch:
    """Images and their labels, taken out of a split when they are looked at."""

    def __init__(self, images: Array, labels: Array, rows: Array) -> None:
        self.images, self.labels, self.rows = images, labels, rows

    def __iter__(self) -> Iterator[Array]:
        yield self.images.take(self.rows, 0)
        yield self.labels.take(self.rows)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Array:
        return list(self)[place]


class Watched:
    """The batches of an epoch in a new order, as `progress` hands them on: it may leave some out, or give others.

    A context, at whose end the bar that `progress` returned is closed.
    """

    def __init__(self, data: Dataset, batch_size: int, rng: np.random.Generator, progress: Any, title: str) -> None:
        images, labels = data.train.images, data.train.labels
        drawn = (_Batch(images, labels, rows) for rows in rows_of_batches(len(labels), batch_size, rng))
        self.n_classes, self.bar = data.n_classes, None
        self.last: _Batch | None = None  # that `progress` was given
        self.handed_on: Iterable[Any] = drawn
        if progress is not None:
            if not callable(progress):
                raise TypeError(
                    f"fit: progress: expected a function of the batches, as tqdm, got {in_one_line(progress)}"
                )
            self.bar = progress(map(self._noted, drawn), total=math.ceil(len(labels) / batch_size), desc=title)
            try:
                self.handed_on = map(self._checked, self.bar)
            except TypeError:
                raise TypeError(
                    f"fit: progress: expected an iterable over the batches, got {in_one_line(self.bar)}; "
                    "return the batches"
                ) from None

    def _noted(self, batch: _Batch) -> _Batch:
        self.last = batch
        return batch

    def _checked(self, batch: Any) -> Any:
        return batch if batch is self.last else _given(batch, self.n_classes)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.handed_on)

    def tell(self, text: str) -> None:
        """Have the bar show a word, if it can."""
        if (tell := getattr(self.bar, "set_postfix_str", None)) is not None:
            tell(text, refresh=False)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        if (close := getattr(self.bar, "close", None)) is not None:
            close()


def _given(batch: Any, n_classes: int) -> tuple[Array, Array]:
    """A batch that `progress` has given in place of ours: images (n, pixels) and labels (n,), else a ValueError."""
    try:
        images, labels = batch
        split = Split(images, labels)
        check_classes("labels", split.labels, n_classes)
        if len(split) == 0:
            raise ValueError("it is empty")
    except (TypeError, ValueError) as error:
        raise ValueError(f"fit: progress: expected batches of images and labels, got another ({error})") from None
    return split.images, split.labels


def step_costs(
    step: Callable[..., Any], batches: Iterable[Any], rows: Array, *, last: bool
) -> Iterator[tuple[float, Any, int]]:
    """Train with each batch: the cost, the batch, and how many examples it has. `rows` has a row for each label.

    A compiled step takes many batches at a time. At the last two of a training, of which one may be smaller, it is
    audited.
    """
    if not isinstance(step, Compiled):
        for batch in batches:
            images, labels = batch
            yield step(leaf(images), leaf(rows.take(labels, 0))).item(), batch, len(labels)
        return
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if len(held) == _AT_ONCE + 2:
            yield from _compiled_costs(step, held[:-2], rows)
            del held[:-2]
    yield from _compiled_costs(step, held[:-2], rows)
    if last:
        step.audit_next()
    yield from _compiled_costs(step, held[-2:], rows)


def _compiled_costs(step: Compiled, batches: Sequence[Any], rows: Array) -> Iterator[tuple[float, Any, int]]:
    for ours, group in itertools.groupby(batches, key=lambda batch: isinstance(batch, _Batch)):
        if not ours:
            for images, labels in group:
                yield step(images, rows.take(labels, 0)).item(), (images, labels), len(labels)
            continue
        known = list(group)
        sizes = [len(batch.rows) for batch in known]
        order = np.concatenate([batch.rows for batch in known])
        images, labels = (known[0].images, order), (rows, known[0].labels.take(order))
        pieces = step.epoch(images, labels, batch_size=sizes[0])
        yield from zip(map(float, itertools.chain.from_iterable(pieces)), known, sizes, strict=False)
