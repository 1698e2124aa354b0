"""Do two recordings of a step agree? What differs between them cannot be a constant of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

from .comparing import identical, told_apart
from .formula import Slot
from .program import Buffer, layout
from .recording import Recorder
from .watching import PLAIN


class DiffersError(Exception):
    """Says what differs."""


def agree(first: Recorder, second: Recorder, tree: Any, other: Any) -> None:
    """Make sure that two recordings are of the same program; what is equal in both becomes a constant of the first.

    Raises:
        DiffersError: something is not as it was.
    """
    pairs: dict[Buffer, Buffer] = {}

    def match(a: Any, b: Any, line: str) -> None:
        if not isinstance(a, Buffer) or not isinstance(b, Buffer):
            if told_apart(a) != told_apart(b):
                raise DiffersError(
                    f"a number was {a!r} at the first call and {b!r} at the second ({line}); "
                    "pass an array with it as an argument"
                )
            return
        if pairs.get(a) is b:
            return
        if pairs.setdefault(a, b) is not b or a.kind != b.kind or a.layout != b.layout:
            raise DiffersError(f"it went another way at its second call ({line}); leave such choices to the caller")
        if isinstance(a.source, Slot) and isinstance(b.source, Slot):
            if a.source.place != b.source.place:
                raise DiffersError(f"it kept other things at its second call ({line})")
        elif a.kind == "outside" and a.source is not b.source:
            if a.tracked or b.tracked:
                raise DiffersError(
                    f"a Tensor that requires gradients is made anew at each call ({line}); make it before"
                )
            if _memory(a.value) == _memory(b.value):
                a.source = a.value
            elif identical(a.value, b.value):
                a.kind, a.value = "constant", a.value.copy(order="K")
            else:
                raise DiffersError(
                    f"an array of shape {a.shape} had other values at the second call ({line}); pass it as an argument"
                )

    if len(first.instructions) != len(second.instructions) or len(first.stores) != len(second.stores):
        raise DiffersError("it did other things at its second call; leave such choices to the caller")
    pairs.update(zip(first.arguments, second.arguments, strict=True))
    for i, j in zip(first.instructions, second.instructions, strict=True):
        same = i.op is j.op and i.update == j.update and i.errors == j.errors and len(i.inputs) == len(j.inputs)
        if not same or not _equal(dict(i.params), dict(j.params)):
            raise DiffersError(f"it went another way at its second call ({i.line}); leave such choices to the caller")
        for x, y in (*zip(i.inputs, j.inputs, strict=True), (i.output, j.output)):
            match(x, y, i.line)
    if not _match_trees(tree, other, match):
        raise DiffersError("it returned something else at its second call")
    for (a, place), (b, other_place) in zip(first.stores, second.stores, strict=True):
        match(a, b, "the optimizer")
        match(place, other_place, "the optimizer")


def _match_trees(a: Any, b: Any, match: Callable[[Any, Any, str], None]) -> bool:
    if isinstance(a, Buffer) and isinstance(b, Buffer):
        match(a, b, "the result")
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_match_trees(a[key], b[key], match) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_match_trees(x, y, match) for x, y in zip(a, b, strict=True))
    return a is b or (isinstance(a, PLAIN) and told_apart(a) == told_apart(b))


def _memory(a: Array) -> Any:
    return a.__array_interface__["data"][0], layout(a)


def _equal(a: Any, b: Any) -> bool:
    """Whether two parameters of an op are the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, slice):
        return _equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, np.ndarray):
        return layout(a) == layout(b) and identical(a, b)
    return isinstance(a, (*PLAIN, np.dtype)) and told_apart(a) == told_apart(b)
