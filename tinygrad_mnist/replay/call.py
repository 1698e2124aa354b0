"""The arguments of a call, taken apart into what a program gets, and put together again for the step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.mode import mode
from tinygrad_mnist.tensor import Tensor, leaf

from .program import layout
from .trees import Regrouped, form, is_group, is_plain, leaves, names


def is_array(x: Any) -> bool:
    """Whether an argument is an array of the program, and no result whose graph leads out of the step."""
    return type(x) is np.ndarray or (isinstance(x, Tensor) and x.op is None)


class Kind(NamedTuple):
    """What an argument must be like for the same program.

    Attributes:
        type: its class.
        layout: of an array; None for what is not one.
        tracked: whether it is a Tensor that requires gradients.
        twin: the place of an earlier argument that is the same object; None if there is none.
        value: of numbers and texts, also in lists and dicts, the text; of a result with a graph 0; of all else its id.
    """

    type: Any
    layout: Any = None
    tracked: bool = False
    twin: int | None = None
    value: Any = None


def kinds(args: Sequence[Any]) -> list[Kind]:
    """The kind of each argument."""
    first: dict[int, int] = {}
    found = []
    for i, x in enumerate(args):
        if is_array(x):
            array, tracked = (x._array, x._requires_grad) if isinstance(x, Tensor) else (x, False)
            twin = first.setdefault(id(x), i)
            found.append(Kind(type(x), layout(array), tracked, None if twin == i else twin))
        else:
            value = 0 if isinstance(x, Tensor) else repr(x) if is_plain(x) and not isinstance(x, np.ndarray) else id(x)
            found.append(Kind(type(x), value=value))
    return found


def _plain_array(x: Any) -> Any:
    """An array of a subclass, as a slice of a np.memmap, as an array."""
    subclass = isinstance(x, np.ndarray) and type(x) is not np.ndarray and not isinstance(x, np.ma.MaskedArray)
    return np.asarray(x) if subclass else x


class Call:
    """The arguments of a call.

    Attributes:
        keywords: the names of those that have no place.
        values: all of them.
        forms: how each is made up.
        parts: what they hold: arrays and what else is not taken apart.
    """

    def __init__(self, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs:
            bound = inspect.signature(step).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        self.keywords = tuple(kwargs)
        self.values = (*args, *kwargs.values())
        self.forms = tuple(form(x) if is_group(x) else None for x in self.values)
        grouped = zip(self.values, self.forms, strict=True)
        self.parts = [_plain_array(part) for x, of in grouped for part in (leaves(x) if of else [x])]
        self.kinds = kinds(self.parts)

    @property
    def is_flat(self) -> bool:
        """Whether the parts are the arguments, each in its place."""
        return not any(self.forms) and not self.keywords

    @property
    def key(self) -> Any:
        """What two calls have in common that one program is for."""
        return mode.grad_enabled, self.forms, self.keywords, self.kinds

    def tensors(self) -> list[Any]:
        """The parts as the step gets them: an array as a Tensor, one that comes twice as one."""
        made: dict[int, Any] = {}
        return [made.setdefault(id(x), leaf(x)) if type(x) is np.ndarray else x for x in self.parts]

    def run(self, step: Callable[..., Any], tensors: Sequence[Any]) -> tuple[Any, bool]:
        """What the step returns, given these for the parts; and whether it has changed a list or a dict of them."""
        given = Regrouped(self.values, self.forms, zip(self.parts, tensors, strict=True))
        places = len(self.values) - len(self.keywords)
        try:
            keywords = dict(zip(self.keywords, given.arguments[places:], strict=True))
            result = step(*given.arguments[:places], **keywords)
        finally:
            changed = given.give_back()
        return result, changed

    def named(self, step: Callable[..., Any]) -> list[tuple[str, Any]]:
        """The parts with names for the text."""
        try:
            known = list(inspect.signature(step).parameters)
        except (TypeError, ValueError):
            known = []
        places = len(self.values) - len(self.keywords)
        own = [known[i] if i < len(known) else f"argument_{i}" for i in range(places)] + list(self.keywords)
        every = [name for stem, of in zip(own, self.forms, strict=True) for name in names(stem, of)]
        return list(zip(every, self.parts, strict=True))
